//! The pictures that README and the pages of docs/ show.

use std::fs;

use crate::documents::pages;

/// What stands between each `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &'a str, end: char) -> impl Iterator<Item = &'a str> {
    let behind = text.split(begin).skip(1);
    behind.filter_map(move |it| it.split_once(end).map(|(found, _)| found))
}

/// The paths of the pictures that a page shows, whether it says so in Markdown or in HTML.
fn shown(page: &str) -> Vec<&str> {
    let in_markdown = between(page, "![", ')').filter_map(|it| it.split_once("](").map(|it| it.1));
    let tags = ["<img ", "<source "].into_iter();
    let tags = tags.flat_map(|tag| between(page, tag, '>'));
    let in_html = tags.flat_map(|tag| between(tag, "src=\"", '"').chain(srcset(tag)));
    let all = in_markdown.chain(in_html);
    all.filter(|path| !path.starts_with("http")).collect()
}

/// Several, each with its width or density behind it.
fn srcset(tag: &str) -> impl Iterator<Item = &str> {
    let sets = between(tag, "srcset=\"", '"').flat_map(|set| set.split(','));
    sets.filter_map(|one| one.split_whitespace().next())
}

#[test]
fn every_picture_that_a_page_shows_is_there() {
    let mut count = 0;
    for page in pages() {
        let (text, folder) = (fs::read_to_string(&page).unwrap(), page.parent().unwrap());
        for path in shown(&text) {
            assert!(folder.join(path).exists(), "{}: {path}", page.display());
            count += 1;
        }
    }
    // Two of README, five plots.
    assert!(count >= 7, "{count}");
}

#[test]
fn pictures_are_found_however_they_are_shown() {
    let page = "![a](a.svg) <source media=\"x\" srcset=\"b.webp, c.webp 2x\"> <img src=\"d.png\" alt=\"\">\n\
        ![away](https://example.com/e.svg) [no picture](f.md)";
    assert_eq!(shown(page), ["a.svg", "d.png", "b.webp", "c.webp"]);
}
