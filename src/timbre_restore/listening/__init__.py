"""A listening test that needs no network: made from folders, served to this machine only, analysed by fixed rules."""

from timbre_restore.listening.analyse import Analysis, analyse
from timbre_restore.listening.answers import read_answers
from timbre_restore.listening.make import ListeningRequest, make_test
from timbre_restore.listening.plan import CCR, KINDS, MUSHRA, ListeningTest, Page, Trial, load_test, pages_of
from timbre_restore.listening.report import as_json, result_page, result_table, write_page
from timbre_restore.listening.server import ListeningServer, open_server

__all__ = [
    "CCR",
    "KINDS",
    "MUSHRA",
    "Analysis",
    "ListeningRequest",
    "ListeningServer",
    "ListeningTest",
    "Page",
    "Trial",
    "analyse",
    "as_json",
    "load_test",
    "make_test",
    "open_server",
    "pages_of",
    "read_answers",
    "result_page",
    "result_table",
    "write_page",
]
