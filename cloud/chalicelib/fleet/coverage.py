"""Which parts of which partitions a search has read already.

Used by `neighbourhood.py`. Places are texts in the order of the table's sort key; intervals are closed.
"""

from chalicelib.fleet.geo import PARTITION_RESOLUTION, ancestor, descendants, follows

FIRST, LAST = "!", "~"  # below and above every place, and allowed as keys

Interval = tuple[str, str]


def ranges(cells: list[str]) -> dict[str, list[Interval]]:
    """The key ranges of the cells (sorted, of one resolution) by partition, adjacent ones merged."""
    by_partition: dict[str, list[Interval]] = {}
    previous = ""
    for cell in cells:
        low, high = descendants(cell)
        partition = ancestor(cell, PARTITION_RESOLUTION)
        intervals = by_partition.setdefault(partition, [])
        if intervals and follows(previous, cell):
            low = intervals.pop()[0]
        intervals.append((low, high + "$"))  # "$" comes right after the "#" that ends a cell
        previous = cell
    return by_partition


class Coverage:
    """Intervals that were read, by partition."""

    def __init__(self) -> None:
        self._read: dict[str, list[Interval]] = {}

    def add(self, partition: str, low: str, high: str) -> None:
        """Remember an interval as read."""
        self._read.setdefault(partition, []).append((low, high))

    def gaps(self, partition: str, low: str, high: str) -> list[Interval]:
        """What of an interval is unread. A gap may begin or end with a place that was read."""
        gaps = []
        for start, end in sorted(self._read.get(partition, ())):
            if end < low or start > high:
                continue
            if start > low:
                gaps.append((low, start))
            low = max(low, end + "!")  # "!" is the first text after
        if low <= high:
            gaps.append((low, high))
        return gaps

    def whole(self, cells: list[str]) -> bool:
        """Whether nothing of these cells (sorted, of one resolution) is unread."""
        return not any(
            self.gaps(partition, low, high)
            for partition, intervals in ranges(cells).items()
            for low, high in intervals
        )

    def has(self, partition: str) -> bool:
        """Whether a partition was read as a whole."""
        return not self.gaps(partition, FIRST, LAST)
