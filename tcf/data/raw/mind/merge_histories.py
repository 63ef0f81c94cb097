"""Merging each user's published history and clicks into one history, by the rules in `tcf.data.raw.mind.read_mind`.

Every step is a table in the engine. Columns that several of them have:

- `u`: the user, from 0; `id`: an item id.
- `t`: a time, in seconds since 1970.
- `n`: the number of items in the history of a row.
- `place`: the rank of a row by time, from 1.
- `pos`: the position of an item in a history, or of a click in the impressions of a row, from 1.
"""

import numpy as np
import pyarrow as pa

from tcf.data.events.group_events import Grouped, collect
from tcf.data.events.timestamps import Times
from tcf.data.tables.arrow_numbers import as_numpy
from tcf.data.tables.bad_rows import BadRows
from tcf.data.tables.engine import Engine

__all__ = ["merge_histories"]

_STEPS = (
    """
    create temp table early as
    select u, id, t, clicks.place, pos,
        row_number() over (partition by u, id order by clicks.place, pos) as nth,
        count(*) over (partition by u, id) as number
    from clicks join longest using (u) where clicks.place < longest.place and item is not null
    """,
    # The first clicks before the longest history match the last equal items in it.
    """
    create temp table held as
    select u, place, early.pos, t, places[len(places) - least(number, len(places)) + nth] as held_pos
    from early join (
        select u, id, list(pos order by pos) as places
        from (
            select u, unnest(ids) as id, generate_subscripts(ids, 1) as pos
            from (select u, string_split(history, ' ') as ids from longest where u in (select u from early))
        ) semi join early using (u, id)
        group by u, id
    ) using (u, id)
    where nth <= len(places)
    """,
    # A row with n items shows that these happened by then; so does a click for the items up to its own.
    """
    create temp table bounds as
    select u, n, n - lag(n, 1, 0) over (partition by u order by n) as number,
        min(t) over (partition by u order by n desc) as t
    from (
        select u, n, min(t) as t
        from (select u, n, t from shown where n > 0 union all select u, held_pos, t from held) group by u, n
    )
    """,
)

_NOT_YET = -(1 << 62)  # the time of the items of a history, until it is filled in

# In order: the items of each user's history, then the other clicks, none of them before the last of the history.
_EVENTS = f"""
    select u as owner, coalesce(item, -1) as item, t as whole
    from (
        select u, 0 as place, pos, item, {_NOT_YET} as t
        from (
            select u, unnest(ids) as id, generate_subscripts(ids, 1) as pos
            from (select u, string_split(history, ' ') as ids from longest where n > 0)
        ) left join news using (id)
        union all
        select u, place, pos, item, greatest(t, last)
        from (from clicks anti join held using (place, pos))
        left join (select u, arg_max(t, n) as last from bounds group by u) using (u)
    )
    order by u, place, pos
"""


def merge_histories(engine: Engine, user_ids: "pa.LargeStringArray", bad: BadRows) -> Grouped:
    """Return the events of all users; an item that is unknown is -1.

    There are these tables already: `shown`, all published rows (`u`, `t`, `n`, `place`); `longest`, the row with each
    user's longest history (`u`, `n`, `place`, `history`, a text with one space between ids); `clicks` (`u`, `t`,
    `place`, `pos`, `id`, `item`); and `news` (`id`, `item`).

    Args:
        engine: has the tables.
        user_ids: distinct, (n_users,).
        bad: counts the clicks that a later history contains (`click_in_later_history`).
    """
    for step in _STEPS:
        engine.run(step)
    n_held = engine.number("select count(*) from held")
    bad.count("click_in_later_history", n_held)
    n_events = engine.number("select sum(n) from longest") + engine.number("select count(*) from clicks") - n_held
    log = collect(user_ids, engine.batches(_EVENTS), n_events, Times("t", "", per_second=1))
    assert log.times is not None
    at, of_histories = 0, np.flatnonzero(log.times == _NOT_YET)
    for batch in engine.batches("select number, t from bounds order by u, n"):
        times = np.repeat(as_numpy(batch.column(1)), as_numpy(batch.column(0)))
        log.times[of_histories[at : at + len(times)]] = times
        at += len(times)
    return log
