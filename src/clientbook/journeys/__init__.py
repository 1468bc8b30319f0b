"""Where is each customer on their way, and what moves them?"""

from clientbook.journeys.declared import READS, STAGE, JourneysParameters
from clientbook.journeys.effects import after_purchase, experiments, next_order_effects
from clientbook.journeys.evidence import as_evidence, row_of, stage_table, stage_table_of
from clientbook.journeys.friction import carts, contentment, own_words, searches
from clientbook.journeys.gap import (
    allowing,
    by_channel,
    misfit,
    plan_and_actual,
    plan_table,
    say_plan,
    silence_and_push,
    standing,
    to_approach,
)
from clientbook.journeys.inference import (
    Reading,
    as_model,
    emission_change,
    read_stages,
    restaged,
    seen_of,
    stage_intervals,
    stood,
)
from clientbook.journeys.moments import acquaintance, corrected, moments
from clientbook.journeys.paths import Sequences, event_transitions, funnel, raw_events, sequences, variants
from clientbook.journeys.pictures import (
    commonest_persona,
    feeling,
    of_persona,
    outlined,
    paths,
    persona_map,
    sampled,
    sankey,
    say_paths,
    sequence_index,
    step_matrix,
    swim,
    swim_lanes,
    turns,
)
from clientbook.journeys.reading import (
    answer,
    best_hours,
    follow_up,
    hours_of,
    key_numbers,
    moves,
    open_now,
    planned_effects,
    say_doubts,
    say_effects,
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
    usual_best,
)
from clientbook.journeys.response import best_times, reached, responsiveness
from clientbook.journeys.scoring import TRUTH, foresight, say_foresight, say_score, score
from clientbook.journeys.stages import Ways, follow, has_topics, intervals, stage_of
from clientbook.journeys.timeline import choose_subject, compose, who_is_who
from clientbook.journeys.touchpoints import (
    entries_and_exits,
    funnel_by,
    loops,
    steps_to,
    switches,
    touch_use,
    visits,
)
from clientbook.tables import STAGES
