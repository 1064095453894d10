#!/usr/bin/env python3
"""Build the paper and count its pages."""


def check_pages(pages: int) -> bool:
    from .page_guard import PageLimitGuard

    return PageLimitGuard(9).allows(pages)


if __name__ == "__main__":
    print(check_pages(8))
