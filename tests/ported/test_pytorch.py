"""Tutorials and examples of PyTorch, rewritten on other data: modules and loaders as they were, the loop moved to learnkit."""

# Scripts as people write them, who do not annotate.
# mypy: ignore-errors

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from learnkit import Category, DataBunch, EarlyStopping, Learner, fit
from learnkit.datasets import tweets_frame

Mnist = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def test_training_a_classifier(tmp_path: Path, mnist: Mnist) -> None:
    """Tutorial "Training a Classifier": LeNet, SGD with momentum, accuracy of each class, weights saved and read again."""
    trn_x, trn_y, val_x, val_y = (torch.from_numpy(part) for part in mnist)
    trainset, testset = TensorDataset(trn_x[:, None], trn_y), TensorDataset(val_x[:, None], val_y)
    trainloader = DataLoader(trainset, batch_size=16, shuffle=True)
    testloader = DataLoader(testset, batch_size=64, shuffle=False)
    classes = [str(i) for i in range(10)]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 6, 5)
            self.pool = nn.MaxPool2d(2, 2)
            self.conv2 = nn.Conv2d(6, 16, 5)
            self.fc1 = nn.Linear(16 * 4 * 4, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(F.relu(self.conv1(x)))
            x = self.pool(F.relu(self.conv2(x)))
            x = torch.flatten(x, 1)
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            out: Tensor = self.fc3(x)
            return out

    data = DataBunch(tmp_path, trainloader, testloader, target=Category(classes))
    learn = Learner(data, Net(), partial(optim.SGD, momentum=0.9), nn.CrossEntropyLoss())
    results = learn.fit(0.02, 2)
    assert results["accuracy"] > 0.7

    learn.save("cifar_net")
    again = Learner(data, Net())
    again.load("cifar_net")
    predicted = again.predict().argmax(1)
    assert np.array_equal(predicted, learn.predict().argmax(1))
    correct_pred = {classes[i]: int(((predicted == i) & (mnist[3] == i)).sum()) for i in range(10)}
    assert math.isclose(sum(correct_pred.values()) / len(val_y), results["accuracy"], abs_tol=1e-6)


def test_mnist_main(tmp_path: Path, mnist: Mnist) -> None:
    """Example "mnist": dropout, log-softmax and `nll_loss`, Adadelta, a seed, a data set split at random."""
    torch.manual_seed(1)
    x, y = torch.from_numpy(mnist[0])[:, None], torch.from_numpy(mnist[1])
    x = (x - 0.1307) / 0.3081
    train, test = random_split(TensorDataset(x, y), [1600, 400])

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(1, 8, 3, 1)
            self.conv2 = nn.Conv2d(8, 16, 3, 2)
            self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
            self.fc1 = nn.Linear(16 * 36, 64)
            self.fc2 = nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.conv1(x))
            x = F.relu(self.conv2(x))
            x = F.max_pool2d(x, 2)
            x = self.dropout1(torch.flatten(x, 1))
            x = self.dropout2(F.relu(self.fc1(x)))
            return F.log_softmax(self.fc2(x), dim=1)

    model = Net()
    optimizer = optim.Adadelta(model.parameters(), lr=1.0)
    data = DataBunch(tmp_path, DataLoader(train, 32, shuffle=True), DataLoader(test, 100))
    results = fit(model, data, 3, optimizer, F.nll_loss, ["accuracy"])
    assert results["accuracy"] > 0.75

    model.eval()
    with torch.no_grad():  # the example's own test loop agrees
        correct = sum(int((model(data).argmax(1) == target).sum()) for data, target in DataLoader(test, 100))
    assert math.isclose(correct / 400, results["accuracy"], abs_tol=1e-6)


def test_text_classification_with_an_embedding_bag(tmp_path: Path) -> None:
    """Tutorial "Text classification": a vocabulary by hand, `EmbeddingBag` with offsets made by a `collate_fn`."""
    frame = tweets_frame()
    frame = frame[frame.sentiment != "neutral"].groupby("sentiment").head(2000).sample(frac=1, random_state=0)
    samples = [
        (int(label == "positive"), text.lower().split())
        for label, text in zip(frame.sentiment, frame.text, strict=True)
    ]
    train, test = samples[:3200], samples[3200:]
    counts: dict[str, int] = {}
    for _, words in train:
        for word in words:
            counts[word] = counts.get(word, 0) + 1
    vocab = {word: i + 1 for i, word in enumerate(word for word, n in counts.items() if n >= 3)}

    def collate_batch(batch: list[tuple[int, list[str]]]) -> tuple[tuple[Tensor, Tensor], Tensor]:
        labels, texts, offsets = [], [], [0]
        for label, words in batch:
            labels.append(label)
            numbers = [vocab.get(word, 0) for word in words]
            texts += numbers
            offsets.append(len(numbers))
        return (torch.tensor(texts), torch.tensor(offsets[:-1]).cumsum(0)), torch.tensor(labels)

    class TextClassificationModel(nn.Module):
        def __init__(self, vocab_size: int, embed_dim: int, num_class: int) -> None:
            super().__init__()
            self.embedding = nn.EmbeddingBag(vocab_size, embed_dim)
            self.fc = nn.Linear(embed_dim, num_class)

        def forward(self, text: Tensor, offsets: Tensor) -> Tensor:
            out: Tensor = self.fc(self.embedding(text, offsets))
            return out

    train_dl: Any = DataLoader(train, batch_size=32, shuffle=True, collate_fn=collate_batch)
    test_dl: Any = DataLoader(test, batch_size=100, collate_fn=collate_batch)
    data = DataBunch(tmp_path, train_dl, test_dl, target=Category(["negative", "positive"]))
    learn = Learner(data, TextClassificationModel(len(vocab) + 1, 32, 2), optim.Adam)
    learn.fit(0.01, 4)
    truth = np.array([label for label, _ in test])
    preds = learn.predict()
    assert preds.shape == (len(test), 2)
    assert (preds.argmax(1) == truth).mean() > 0.6
    assert np.array_equal(data.val_y, truth)


def test_learning_pytorch_with_examples(tmp_path: Path) -> None:
    """Tutorial "Learning PyTorch with Examples": the sine by a polynomial of third order, RMSprop."""
    x = torch.linspace(-math.pi, math.pi, 2000)
    y = torch.sin(x)
    p = torch.tensor([1, 2, 3])
    xx = x.unsqueeze(-1).pow(p)

    model = nn.Sequential(nn.Linear(3, 1), nn.Flatten(0, 1))
    loss_fn = nn.MSELoss(reduction="sum")
    optimizer = optim.RMSprop(model.parameters(), lr=1e-3)
    data = DataBunch(tmp_path, [(xx, y)])
    fit(model, data, 3000, optimizer, loss_fn, progress=False)

    with torch.no_grad():
        assert float(loss_fn(model(xx), y)) < 20  # the best polynomial of third order comes to about 9
    weight = model[0].weight.detach().numpy()[0]
    best = np.linalg.lstsq(np.column_stack([np.ones(2000), xx.numpy()]), y.numpy(), rcond=None)[0]
    assert np.allclose(weight, best[1:], atol=0.1)


def test_siamese_network(tmp_path: Path, mnist: Mnist) -> None:
    """Example "siamese_network": two pictures in, whether they show the same digit out; sigmoid and `BCELoss`."""

    class Pairs(Dataset[tuple[tuple[Tensor, Tensor], Tensor]]):
        def __init__(self, pictures: NDArray[Any], digits: NDArray[Any], n: int, seed: int) -> None:
            rng = np.random.default_rng(seed)
            self.pictures, few = torch.from_numpy(pictures)[:, None], np.flatnonzero(digits < 3)
            by_digit = [few[digits[few] == digit] for digit in range(3)]
            self.pairs = []
            for i in range(n):
                a = int(rng.choice(few))
                same = i % 2
                others = by_digit[digits[a]] if same else few[digits[few] != digits[a]]
                self.pairs.append((a, int(rng.choice(others)), float(same)))

        def __len__(self) -> int:
            return len(self.pairs)

        def __getitem__(self, i: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
            a, b, same = self.pairs[i]
            return (self.pictures[a], self.pictures[b]), torch.tensor(same)

    class SiameseNetwork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(576, 32)
            )
            self.fc = nn.Sequential(nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())

        def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
            one, other = self.body(input1), self.body(input2)
            out: Tensor = self.fc(torch.cat(((one - other).abs(), one * other), 1)).squeeze(1)
            return out

    def accuracy(outputs: Any, targets: Any) -> float:
        return float(((torch.as_tensor(outputs) > 0.5).float() == torch.as_tensor(targets)).float().mean())

    train, test = Pairs(*mnist[:2], 1500, 0), Pairs(*mnist[2:], 300, 1)
    data = DataBunch(tmp_path, DataLoader(train, 32, shuffle=True), DataLoader(test, 100))
    learn = Learner(data, SiameseNetwork(), optim.Adam, nn.BCELoss(), [accuracy])
    results = learn.fit(2e-3, 5, callbacks=[EarlyStopping("trn_loss", patience=5)])
    assert results["accuracy"] > 0.75
    preds, targets = learn.predict_with_targs()
    assert ((preds.ravel() > 0.5) == targets.ravel()).mean() > 0.75
