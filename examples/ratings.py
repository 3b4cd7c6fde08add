"""MovieLens 100k in a minute: train, look at what was learnt, recommend, save, and learn from likes alone.

Run it with `python -m examples.ratings`; it needs `pip install --no-deps recbole==1.2.1`. What it prints is shown in
docs/collab.md.
"""

from __future__ import annotations

from pathlib import Path

from learnkit import get_cv_idxs, load_learner, seed_everything
from learnkit.collab import CollabFilterDataset
from learnkit.datasets import movielens_frames

PATH = Path("runs/ratings")


def main() -> None:
    seed_everything(0)
    ratings, movies = movielens_frames()
    titles = movies.set_index("movieId").title

    cf = CollabFilterDataset.from_data_frame(PATH, ratings, "userId", "movieId", "rating", titles=titles)
    print(cf)
    learn = cf.get_learner(50, val_idxs=get_cv_idxs(len(ratings)))
    results = learn.fit_one_cycle(8, 6e-3)
    print(f"validation MSE {results['val_loss']:.4f}")

    print("\nThe best films, whoever watches (item bias, at least 50 ratings)")
    bias = learn.item_bias(min_ratings=50)
    print(bias.head(8).round(3).to_string(index=False))
    print("\n... and the worst")
    print(bias.tail(8)[::-1].round(3).to_string(index=False))

    print("\nFor user 196")
    print(learn.recommend(196, n=5).round(3).to_string(index=False))
    print("\nLike Star Wars")
    print(learn.similar_items(50, n=5, min_ratings=50).round(3).to_string(index=False))
    print(f"\nUser 196 would give Toy Story {learn.predict(196, 1):.2f} stars")

    PATH.mkdir(parents=True, exist_ok=True)
    learn.plot_item_factors(45).get_figure().savefig(PATH / "factors.png", dpi=90)  # type: ignore[union-attr]

    file = learn.export(PATH / "movielens")
    again = load_learner(file)  # in any process, without the ratings
    print(f"exported as {file}; recommends the same: {again.recommend(196).equals(learn.recommend(196))}")

    print("\nFrom likes alone: 4 stars and more, without the stars")
    liked = ratings[ratings.rating >= 4].reset_index(drop=True)
    likes = CollabFilterDataset.from_data_frame(PATH, liked, "userId", "movieId", None, titles=titles)
    ranker = likes.get_learner(50, val_idxs=get_cv_idxs(len(liked)))
    ranker.fit_one_cycle(10, 1e-2)
    print({name: round(value, 4) for name, value in ranker.ranking_metrics(k=10).items()})


if __name__ == "__main__":
    main()
