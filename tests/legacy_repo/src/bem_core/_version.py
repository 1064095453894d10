"""Version of the bem distribution; setup.py executes this file."""

__version__ = "2.0.0"
__version_info__ = tuple(int(num) for num in __version__.split("."))
__title__ = "bem"
__license__ = "MIT"

VERSION_HISTORY = {
    "1.3.0": {"description": "performance track variants"},
    "2.0.0": {"description": "router, online, multimodal and safety missions"},
}


def get_version():
    return __version__


def get_version_info():
    return {"version": __version__, "version_info": __version_info__, "title": __title__, "license": __license__}


def print_version_info():
    for key, value in get_version_info().items():
        print(f"{key}: {value}")


if __name__ == "__main__":
    print_version_info()
