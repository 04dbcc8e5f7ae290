"""The table of faults: what is broken, where, and what a job makes of it."""

from tests.faults.endings import endings
from tests.faults.promise import Fault
from tests.faults.protocol_faults import (
    answers_without_sense,
    odd_moments,
    trickling_answers,
    uploads_to_the_letter,
)
from tests.faults.server_faults import server_faults
from tests.faults.storage_faults import changes_under_the_job, lasting_faults, passing_faults

FAULTS: tuple[Fault, ...] = (
    *passing_faults(),
    *answers_without_sense(),
    *odd_moments(),
    *trickling_answers(),
    *uploads_to_the_letter(),
    *lasting_faults(),
    *changes_under_the_job(),
    *server_faults(),
    *endings(),
)
