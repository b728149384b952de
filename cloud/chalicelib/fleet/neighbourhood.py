"""Which cloudlets are near a device, in a bounded number of reads whatever the table's size.

Called by `deploy.py`; calls the table through `PlaceStore`, and `surroundings.py` for the search by place.
The order of a search:

1. Cloudlets on the device's own network, by their signposts (`pointers.py`).
2. With a location, what is around it; without one, a sample of the whole world.
3. Where that is not enough, cloudlets without a location.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.fields import Address
from chalicelib.fleet import geo, pointers
from chalicelib.fleet.cloudlets import NOWHERE, Cloudlet
from chalicelib.fleet.coverage import FIRST, LAST
from chalicelib.fleet.geo import Location
from chalicelib.fleet.search import Accepts, PlaceStore, Search
from chalicelib.fleet.surroundings import Surroundings

_SAMPLED_PARTITIONS = 8
_MOST_OWN = 4  # cloudlets of the device's own network that are looked up
_POINTERS_A_QUERY = 32  # 4 KB at most: half a read unit


@dataclass(frozen=True, slots=True)
class Found:
    """What a search saw: cloudlets that are not draining, each once, in no particular order.

    `stale`: those whose lease ended less than `STALE_SECONDS` ago. No living cloudlet whose row is filed
    nearer than `complete_km` is missing; one that drives is filed up to `MOVE_KM` from where it is.
    `queries`: how many were made.
    """

    cloudlets: list[Cloudlet]
    stale: list[Cloudlet]
    complete_km: float
    queries: int


class Neighbourhood:
    """Searches of one table."""

    def __init__(
        self,
        places: PlaceStore,
        clock: Callable[[], float],
        chance: random.Random,
        *,
        private: bool = False,
    ) -> None:
        """`clock` gives seconds since 1970. `private`: whether private networks are the same everywhere."""
        self._places = places
        self._clock = clock
        self._chance = chance
        self._private = private

    def around(
        self,
        location: Location | None,
        address: Address | None,
        accepts: Accepts,
        enough: int,
        realm: str = "",
    ) -> Found:
        """Cloudlets around a device, at least `enough` of those that accept it if there are so many.

        Of the shared ones, or of the tenant `realm`'s own.
        """
        search = Search(self._places, self._clock(), accepts, realm)
        if address is not None and (self._private or pointers.is_distinct(address)):
            self._own_network(search, address)
        complete_km = 0.0
        if location is not None:
            complete_km = Surroundings(search, location, enough).explore()
        else:
            self._sample(search, 2 * enough)
        if len(search.eligible) < enough:
            self._nowhere(search, enough)
        return Found(search.living(), search.stale(), complete_km, search.queries)

    @staticmethod
    def _own_network(search: Search, address: Address) -> None:
        where = pointers.lookup(address, search.realm)
        low, high = where.narrow
        # One query for all of them where there are few; for the wide ones another where there are many.
        found, more = search.pointers(where.partition, where.wide[0], high, limit=_POINTERS_A_QUERY)
        if more and found[-1].place >= low:
            found += search.pointers(where.partition, *where.wide, limit=_POINTERS_A_QUERY)[0]
        rows = dict.fromkeys(each.row for each in found if pointers.leads(each, address))
        for key in list(rows)[:_MOST_OWN]:
            search.look_up(key)

    def _sample(self, search: Search, enough: int) -> None:
        cells = [cell for cell in search.directory() if not cell.startswith(NOWHERE)]
        for cell in self._chance.sample(cells, min(len(cells), _SAMPLED_PARTITIONS)):
            if len(search.eligible) >= enough:
                break
            if search.read(cell, FIRST, LAST):
                low, high = (int(end, 16) for end in geo.descendants(cell))
                search.read(cell, f"{self._chance.randint(low, high):x}", LAST)

    def _nowhere(self, search: Search, enough: int) -> None:
        cells = [cell for cell in search.directory() if cell.startswith(NOWHERE)]
        for cell in self._chance.sample(cells, len(cells)):
            anchor = f"#{self._chance.getrandbits(32):08x}"
            search.read(cell, anchor, LAST)
            if len(search.eligible) < enough:
                search.read(cell, FIRST, anchor, forward=False)
            if len(search.eligible) >= enough:
                break
