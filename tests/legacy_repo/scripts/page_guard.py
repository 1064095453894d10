"""Page limits."""


class PageLimitGuard:
    def __init__(self, limit: int):
        self.limit = limit

    def allows(self, pages: int) -> bool:
        return pages <= self.limit
