"""Where is each customer on their way, and what moves them?"""

from clientbook.journeys.declared import READS, STAGE, JourneysParameters
from clientbook.journeys.effects import after_purchase, experiments
from clientbook.journeys.evidence import as_evidence, row_of, stage_table, stage_table_of
from clientbook.journeys.inference import Reading, as_model, emission_change, read_stages, restaged, seen_of, stage_intervals, stood
from clientbook.journeys.moments import acquaintance, corrected, moments
from clientbook.journeys.paths import event_transitions, raw_events, variants
from clientbook.journeys.reading import (
    answer,
    best_hours,
    follow_up,
    hours_of,
    key_numbers,
    moves,
    open_now,
    say_moves,
    say_share,
    say_variants,
    stage_rows,
    stage_share,
    telling_moments,
    time_in_stage,
    top_transitions,
    top_variants,
    totals,
    transition_shares,
    unmapped,
)
from clientbook.journeys.response import best_times, reached, responsiveness
from clientbook.journeys.scoring import TRUTH, foresight, say_foresight, say_score, score
from clientbook.journeys.stages import Ways, follow, has_topics, instant_of, intervals, stage_of
from clientbook.journeys.timeline import choose_subject, compose, who_is_who
