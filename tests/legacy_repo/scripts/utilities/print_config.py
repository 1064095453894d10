#!/usr/bin/env python2
"""Python 2, from the first prototype."""

import ConfigParser
from bem.controller import HierarchicalController

config = ConfigParser.ConfigParser()
config.read("bem.cfg")
for section in config.sections():
    print "[%s]" % section
    for key, value in config.items(section):
        print key, "=", value
try:
    HierarchicalController(8, 2)
except TypeError, e:
    print e
