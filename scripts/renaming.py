"""What the words of the template become in a new service: `note` and `notes`, in text and in Rust code, and its ports."""

import re

# Whole words, and parts of identifiers: update_note, NewNote, NOTES_STREAM. What stands before a word may be its article.
WORD = re.compile(r"((?<![A-Za-z])[Aa][ _])?((?<![a-z])notes?(?![a-z])|Notes?(?![a-z])|(?<![A-Z])NOTES?(?![A-Z]))")
# Of Rust: a comment, a string, an identifier, or anything else.
TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|([A-Za-z_]\w*)|.', re.S)
# What every file of Rust knows, and macros write into it.
PRELUDE = """Box Clone Copy Debug Default Deserialize Drop Eq Err Fn From Into Iterator None Ok Option PartialEq Result Send Serialize Some
    String Sync ToOwned ToString Vec drop""".split()


def singular_of(name):
    """The singular of an English plural, or None where no rule tells it."""
    if name.endswith(("ss", "us", "is", "news", "series", "species")):
        return None
    # A cache, but a coach; a pie, but a party; a fuse, but a bonus: the ending does not tell.
    if re.search(r"[aeio]ches$|^[^aeiou]*ies$|[^aeot]uses$", name):
        return None
    rules = [
        (r"(mov|cook|zomb)ies$", r"\1ie"),
        (r"ies$", "y"),
        (r"([^aeo])uses$", r"\1us"),  # statuses, but causes, houses
        (r"(ss|x|ch|sh|zz)es$", r"\1"),
        (r"s$", ""),
    ]
    for ending, instead in rules:
        if re.search(ending, name):
            return re.sub(ending, instead, name)
    return None


def begins_with_a_vowel(word):
    """As it is spoken: an invoice, an umbrella, but a user, a unit."""
    return re.match(r"(?!eu|one|uni|u[^aeiou][aeiou])[aeiou]|hour|hono|heir", word, re.I) is not None


class Renaming:
    """The code of a service has words of its own, such as `user` and `session`. A resource of such a name is `user_doc` and `UserDoc`
    in Rust, and goes by its own name everywhere else."""

    def __init__(self, name, singular, ports, sources):
        spelt = [str.lower, str.capitalize, str.upper]
        self.words = {spell(old): spell(new) for spell in spelt for old, new in [("notes", name), ("note", singular)]}
        self.ports = ports
        self.clashing = set()
        for source in sources:
            identifiers = {token[1] for token in TOKEN.finditer(source) if token[1]}
            ours = {identifier for identifier in identifiers if WORD.search(identifier)}
            others = identifiers - ours | set(PRELUDE)
            self.clashing |= {identifier for identifier in ours if self.words_of(identifier) in others}

    def words_of(self, text):
        return WORD.sub(self.word, text)

    def word(self, found):
        article, word = found[1] or "", self.words[found[2]]
        if article and begins_with_a_vowel(word):
            article = article[0] + "n" + article[1]
        return article + word

    def numbers(self, text):
        return re.sub(r"\b\d{4}\b", lambda number: self.ports.get(number[0], number[0]), text)

    def text(self, text):
        return self.numbers(self.words_of(text))

    def rust(self, source):
        return self.numbers(TOKEN.sub(self.token, source))

    def token(self, token):
        identifier, before, behind = token[1], token.string[: token.start()], token.string[token.end() :]
        # The crate and the schema in the documents have the names that all see.
        if identifier not in self.clashing or identifier == "notes" and behind.startswith("::") or before.endswith("as = "):
            return self.words_of(token[0])
        renamed = self.words_of(identifier)
        return renamed + ("_DOC" if renamed.isupper() else "Doc" if renamed[0].isupper() else "_doc")
