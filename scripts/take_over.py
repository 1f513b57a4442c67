"""scripts/take-over: tickets as mongoose writes them, become tickets and events as the service writes them."""

import datetime
import sys

from bson import Int64, ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

BATCH = 200  # tickets in a transaction
MOST_CENTS = 100_000_000
LONGEST_TITLE = 100


def cents_of(price):
    """None where it is no price of ours: above 0, at most 1,000,000, with at most two decimals but for what floats add."""
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price <= MOST_CENTS:
        return None
    cents = round(price * 100)
    return cents if abs(price * 100 - cents) < 1e-6 and 1 <= cents <= MOST_CENTS else None


def wrong_with(old):
    """Why a document can't be taken over, if anything is the reason."""
    if not isinstance(old["_id"], ObjectId):
        return "its _id is no ObjectId"
    if not isinstance(old.get("title"), str) or not isinstance(old.get("userId"), str):
        return "its title or userId is no text"
    if not isinstance(old.get("orderId"), (str, type(None))):
        return "its orderId is no text"
    if cents_of(old.get("price")) is None:
        return f"its price is {old.get('price')!r}, and has to be above 0, at most 1000000, with at most two decimals"
    return None


def taken_over(old, now):
    """The ticket and its event. Versions begin anew: consumers of the new stream have seen none."""
    made = old["_id"].generation_time
    ticket = {
        "_id": old["_id"],
        "title": old["title"],
        "priceCents": Int64(cents_of(old["price"])),
        "userId": old["userId"],
        "orderId": old.get("orderId"),
        "version": Int64(0),
        "createdAt": made,
        "updatedAt": made,
    }
    key = str(old["_id"])
    event = {
        "_id": ObjectId(),
        "type": "ticket.created",
        "subject": f"ticket.created.{key}",
        "key": key,
        "version": Int64(0),
        "data": {
            "id": key,
            "title": ticket["title"],
            "price": int(ticket["priceCents"]) / 100,
            "userId": ticket["userId"],
            "orderId": ticket["orderId"],
            "version": Int64(0),
        },
        "sent": "NO",
        "createdAt": now,
    }
    return ticket, event


def save(client, target, batch):
    """In one transaction: a ticket is here if and only if its event is."""
    present = {each["_id"] for each in target.tickets.find({"_id": {"$in": [old["_id"] for old in batch]}}, {"_id": 1})}
    now = datetime.datetime.now(datetime.timezone.utc)
    new = [taken_over(old, now) for old in batch if old["_id"] not in present]
    if new:
        tickets, events = zip(*new)
        with client.start_session() as session:
            def both(session):
                target.tickets.insert_many(tickets, session=session)
                target.events.insert_many(events, session=session)

            session.with_transaction(both, write_concern=WriteConcern("majority", j=True))
    return len(new), len(present)


def main(program, source_uri, target_uri):
    source = MongoClient(source_uri, serverSelectionTimeoutMS=5000, tz_aware=True).get_default_database()
    client = MongoClient(target_uri, serverSelectionTimeoutMS=5000, tz_aware=True)
    target = client.get_default_database(program)
    if (source.name, source.client.address) == (target.name, client.address):
        sys.exit("take-over: that is the service's own database; restore the old tickets under another name, or read them where they are")
    owner = target.leases.find_one({"_id": "service"}, {"name": 1})
    if owner is None or not {"tickets", "events"} <= set(target.list_collection_names()):
        sys.exit(f"take-over: {target.name} has no collections yet: start the service once")
    if owner["name"] != program:
        sys.exit(f"take-over: the database {target.name} is that of the service {owner['name']}, and these tickets are for {program}: correct MONGO_URI")
    wrong = [f"  {old['_id']}: {reason}" for old in source.tickets.find() if (reason := wrong_with(old))]
    if wrong:
        sys.exit("take-over: nothing was done. Mend these where they are, and call it again:\n" + "\n".join(wrong))
    copied = here = 0
    batch, long_titles = [], []
    for old in source.tickets.find().sort("_id"):
        batch.append(old)
        if len(old["title"]) > LONGEST_TITLE:
            long_titles.append(f"  {old['_id']}: {len(old['title'])} characters")
        if len(batch) == BATCH:
            done, present = save(client, target, batch)
            copied, here, batch = copied + done, here + present, []
    done, present = save(client, target, batch)
    print(f"take-over: {copied + done} tickets copied, {here + present} were here already")
    if long_titles:
        print(f"take-over: these titles are longer than {LONGEST_TITLE}. They stay as they are; whoever changes such a ticket has to shorten its title:")
        print("\n".join(long_titles))


try:
    main(*sys.argv[1:])
except PyMongoError as error:
    sys.exit(f"take-over: MongoDB: {error}")
