"""Enriches a sign-up with what follows from it, before the CRM has it: the region, the company's domain, the time. One file of the project holds the table."""

from datetime import datetime, timezone

from keyway import delete, on_tombstone, plugin, put, reject, segment

from regions import REGIONS

FREE_MAIL = {"gmail.com", "outlook.com", "proton.me"}


@plugin(keys="signup:*", name="enrich", version="1.0.0")
def transform(signup, m):
    if not isinstance(signup, dict) or not isinstance(signup.get("id"), int):
        return reject("a sign-up has an `id`")
    _, at, domain = str(signup.get("email", "")).strip().lower().rpartition("@")
    if not at:
        return reject(f"sign-up {signup['id']} has no address to write to")
    country = str(signup.get("country", "")).upper()
    enriched = {
        **signup,
        "region": REGIONS.get(country, "other"),
        "company": None if domain in FREE_MAIL else domain,
        "signed_up_at": m.timestamp and datetime.fromtimestamp(m.timestamp / 1000, timezone.utc).isoformat(timespec="milliseconds"),
    }
    return put("crm", f"/contacts/{signup['id']}").query("source", m.header("source") or "unknown").json(enriched)


@on_tombstone
def deleted(m):
    return delete("crm", f"/contacts/{segment(m.key.removeprefix('signup:'))}")
