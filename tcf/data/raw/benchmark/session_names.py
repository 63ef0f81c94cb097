"""Sessions of files that give every row an id of its own, found by how their rows repeat one another."""

from tcf.data.tables.engine import Engine

__all__ = ["name_sessions", "part_name"]

_AUGMENTED = 0.1  # of all rows continue another: fewer do so by chance

# A row continues another if its list is the other's list and target, or that without its first item where all are cut.
_NEIGHBOURS = """
    create temp table {near} as
    select row, id, file, part,
        coalesce(items = other_whole or (n = longest and other_n = n and items = other_tail), false) as continues,
        coalesce(whole = other_items or (n = longest and other_n = n and tail = other_items), false) as is_continued
    from (
        select *, lag(items) over w as other_items, lag(whole) over w as other_whole, lag(n) over w as other_n,
            lag(tail) over w as other_tail
        from (
            select row, id, file, part, n, items, whole, substr(whole, instr(whole, ' ') + 1) as tail,
                max(n) over (partition by file) as longest
            from (select *, items || ' ' || target as whole from {listed})
        )
        window w as (partition by file order by row)
    )
"""
_CHAINS = """
    create temp table {chains} as
    select row, file, part, min(row) over c as owner, first_value(id) over (c order by row) as id
    from (select *, count_if(not {kind}) over (order by row) as chain from {near})
    window c as (partition by chain)
"""
_RENAMED = """
    create temp table {renamed} as
    select listed.* replace (named.id as id, named.owner as owner)
    from {listed} listed join (
        select row, owner, id || case when chains.file = firsts.file then '' else {name} end as id
        from {chains} chains join (select id, min(file) as file from {chains} group by id) firsts using (id)
    ) named using (row)
    order by row
"""


def name_sessions(engine: Engine, listed: str) -> str:
    """Return a table in which rows of one session have the same `id` and `owner`, where every row has an id of its own.

    Neighbouring rows are of one session if each continues the one before, or each the one after. An id that occurs in
    several files is that of several sessions.

    Args:
        engine: has the table.
        listed: rows of lists, with the columns that `item_lists` gives them; returned as it is if ids are repeated, or
            hardly any row continues another.
    """
    if engine.rows(f"select 1 from {listed} group by file, id having count(*) > 1 limit 1"):
        return listed
    near, chains, renamed = (engine.name(stem) for stem in ("near", "chains", "renamed"))
    engine.run(_NEIGHBOURS.format(near=near, listed=listed))
    counts = engine.rows(
        f"select file, count_if(continues), count_if(is_continued), count(*) from {near} group by file"
    )
    if sum(max(there) for _, *there, _ in counts) < _AUGMENTED * sum(rows for *_, rows in counts):
        engine.run(f"drop table {near}")
        return listed
    kinds = " ".join(f"when {file} then {'continues' if a >= b else 'is_continued'}" for file, a, b, _ in counts)
    engine.run(_CHAINS.format(chains=chains, kind=f"case file {kinds} end", near=near))
    engine.run(_RENAMED.format(renamed=renamed, listed=listed, chains=chains, name=part_name("chains.part")))
    engine.run(f"drop table {near}; drop table {chains}; drop table {listed}")
    return renamed


def part_name(part: str) -> str:
    """Return an expression in SQL for what follows the id of a session that begins in a part but not as the first."""
    return f"case {part} when 1 then ' (train)' when 2 then ' (valid)' else ' (test)' end"
