"""The PynamoDB model of a cloudlet's row: the schema of its attributes, of which conditions are made.

Imported by `cloudlet_table.py` when it first writes, because PynamoDB takes a quarter of a second to import.
"""

from pynamodb.attributes import BinaryAttribute, NumberAttribute, TTLAttribute, UnicodeAttribute
from pynamodb.models import Model


class CloudletRow(Model):
    """The schema. Names are short because each of a million rows carries them."""

    cell = UnicodeAttribute(hash_key=True)
    place = UnicodeAttribute(range_key=True)
    uuid = UnicodeAttribute(null=True)
    expires_at = TTLAttribute()
    endpoint = UnicodeAttribute(attr_name="e")
    name = UnicodeAttribute(attr_name="n", null=True)
    incarnation = NumberAttribute(attr_name="i")
    sequence = NumberAttribute(attr_name="s")
    last_keepalive = NumberAttribute(attr_name="k")
    latitude = NumberAttribute(attr_name="y", null=True)
    longitude = NumberAttribute(attr_name="x", null=True)
    local_networks = BinaryAttribute(attr_name="l", null=True, legacy_encoding=False)
    accepted_clients = BinaryAttribute(attr_name="a", null=True, legacy_encoding=False)
    rejected_clients = BinaryAttribute(attr_name="d", null=True, legacy_encoding=False)
    cpu_ratio = NumberAttribute(attr_name="c", null=True)
    mem_ratio = NumberAttribute(attr_name="m", null=True)
    gpu_ratio = NumberAttribute(attr_name="g", null=True)
    net_rx_rate = NumberAttribute(attr_name="r", null=True)
    net_tx_rate = NumberAttribute(attr_name="t", null=True)
    published = NumberAttribute(attr_name="p", null=True)
    trust = NumberAttribute(attr_name="w", null=True)
    price = NumberAttribute(attr_name="q", null=True)
    jurisdiction = UnicodeAttribute(attr_name="j", null=True)
    cores = NumberAttribute(attr_name="hc", null=True)
    memory_bytes = NumberAttribute(attr_name="hm", null=True)
    gpu = UnicodeAttribute(attr_name="hg", null=True)
    cached = BinaryAttribute(attr_name="b", null=True, legacy_encoding=False)
    draining = NumberAttribute(attr_name="z", null=True)
    uncallable = NumberAttribute(attr_name="u", null=True)
    commands_wait = NumberAttribute(attr_name="f", null=True)
