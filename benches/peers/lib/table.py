"""The results in Markdown."""

import datetime
import os
import platform
import statistics

from figures import COLUMNS


def markdown(systems, results, sizes, postgres_version):
    """Everything that was measured: `results[system name][figure]` is a list with the values of each run."""
    parts = [head(sizes, postgres_version)]
    for store, title in (("postgres", "PostgreSQL"), ("sqlite", "SQLite")):
        here = [system for system in systems if system.store == store and results.get(system.name)]
        if here:
            parts += [f"## {title}", what(here), table(here, results, cell)]
            ours = next((system for system in here if system.name.startswith("Taskwright")), None)
            if ours and len(here) > 1:
                peers = [system for system in here if system is not ours]
                mine = results[ours.name]
                parts += ["Taskwright against each: how many times its rate, or how many times shorter its latency.",
                          table(peers, results, lambda *place: ratio(mine, *place))]
    return "\n\n".join(parts)


def head(sizes, postgres_version):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = [f"{datetime.date.today()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, {platform.release()}"]
    if postgres_version:
        lines.append(f"PostgreSQL {postgres_version} on the same CPUs")
    lines.append(f"drains of {sizes.backlog:,} and {sizes.large_backlog:,}, and of {sizes.churned_at_once:,} before "
                 f"and after {sizes.churned:,} churned; medians of {sizes.repetitions} [least - most]")
    return "; ".join(lines) + "."


def what(systems):
    rows = [(system.name, system.version(), system.finished, system.setting) for system in systems]
    return grid(["", "version", "finished jobs", "settings"], rows)


def table(systems, results, show):
    """A row for each system, a column for each value that any of them has."""
    columns = [(figure, value, column) for figure, values in COLUMNS.items() for value, column in values.items()
               if any(figure in results[system.name] for system in systems)]
    rows = [[system.name, *(show(results[system.name], *place) for place in columns)] for system in systems]
    return grid(["", *(column.heading for _, _, column in columns)], rows)


def cell(mine, figure, value, column):
    runs = [run[value] for run in mine.get(figure, [])]
    if not runs:
        return "-"
    shown = [f"{number:,.0f}" if column.rate else f"{number:.2f}"
             for number in (statistics.median(runs), min(runs), max(runs))]
    spread = f" [{shown[1]} - {shown[2]}]" if len(runs) > 1 else ""
    return f"{shown[0]}{column.unit}{spread}"


def ratio(ours, theirs, figure, value, column):
    if figure not in ours or figure not in theirs:
        return "-"
    mine, other = (statistics.median(run[value] for run in runs[figure]) for runs in (ours, theirs))
    return f"{mine / other if column.rate else other / mine:.2f}"


def grid(headings, rows):
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(word) for word in line) + " |" for line in lines)
