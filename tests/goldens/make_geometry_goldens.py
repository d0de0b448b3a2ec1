"""What numpy makes of the geometry of two runs: the reference for `sdviz plot --what plane,pca,cosines,spectrum,bands`.

    sdviz trace --model pocket --prompt "a red apple on a blue background" --steps 8 --seed 1 --record all --decode none \
        --device cpu --no-report --out pocket-run
    python make_geometry_goldens.py pocket-run

Writes geometry.safetensors. `pocket/…` holds the recorded tensors themselves, f32, so that the test measures the very same
numbers; `synthetic` is the run that tests/suite/synthetic_run makes with 96×64 pixels, 6 calls, seed 5, latents that grow with
sigma. All results are f64:

    NAME/plane/{along,across,outside,arc,two,all,angle}   x(k)·e1, x(k)·e2, the share outside; the ideal arc; the share of
                                                          the end outside span(x(0), x(k)) and span(x(0) … x(k)); degrees
    NAME/pca-{x,x0}/{explained,scores}                    cumulative shares; the first three coordinates
    NAME/cosines/{lag1,lag2,change_to_start,change_to_end,to_start,to_end,straightness}
    NAME/spectrum-{x,x0}/power                            [steps, rings]
    NAME/bands/{error,coherence,gaussian_error,power,settled}   [rings, steps] but for the last two
"""
import json
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

norm = np.linalg.norm


def recorded(folder):
    record = json.load(open(f"{folder}/run.json"))
    steps = [load_file(f"{folder}/steps/{k:03}.safetensors") for k in range(len(record["schedule"]))]
    run = {"latents": np.stack([s["latents"][0] for s in steps])}
    for key in ["predicted_original", "noise_guided"]:
        run[key] = np.stack([s[key][0] for s in steps[1:]])
    for key in ["sigma", "alpha_cumprod", "latent_scale"]:
        run[key] = np.array([level[key] for level in record["schedule"]])
    return run


def synthetic(height=8, width=12, calls=6, seed=5):
    """tests/suite/synthetic_run.rs, number by number."""
    state = seed
    f32 = np.float32

    def following():
        nonlocal state
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        return f32(state >> 40) / f32(1 << 22) - f32(2)

    sigma = np.array([12.0 / (1.0 + k) ** 2 for k in range(calls + 1)])
    scale = np.sqrt(sigma**2 + 1)
    latents, predicted = [], []
    for k in range(calls + 1):
        spread = f32(1) / (f32(1) + f32(k) / f32(4))
        shape = (4, height, width)
        latents.append(np.array([following() * spread * f32(scale[k]) for _ in range(np.prod(shape))], f32).reshape(shape))
        predicted.append(np.array([following() for _ in range(np.prod(shape))], f32).reshape(shape))
    return {
        "latents": np.stack(latents), "predicted_original": np.stack(predicted[1:]),
        "sigma": sigma, "alpha_cumprod": 1 / (sigma**2 + 1), "latent_scale": scale,
    }


def outside(x, basis):
    """The share of ‖x‖² outside the span of the rows of `basis`."""
    rest = x - basis.T @ np.linalg.lstsq(basis.T, x, rcond=1e-12)[0]
    return norm(rest) ** 2 / norm(x) ** 2


def plane(X, alpha):
    e1 = X[-1] / norm(X[-1])
    part = X[0] - (X[0] @ e1) * e1
    e2 = part / norm(part)
    along, across = X @ e1, X @ e2
    rest = X - np.outer(along, e1) - np.outer(across, e2)
    return {
        "along": along, "across": across, "outside": (rest**2).sum(1) / (X**2).sum(1),
        "arc": np.stack([np.sqrt(alpha) * norm(X[-1]), np.sqrt(1 - alpha) * norm(part)], 1),
        "two": np.array([outside(X[-1], np.unique(X[[0, k]], axis=0)) for k in range(len(X))]),
        "all": np.array([outside(X[-1], X[: k + 1]) for k in range(len(X))]),
        "angle": np.degrees(np.arccos(X[0] @ X[-1] / norm(X[0]) / norm(X[-1])))[None],
    }


def pca(X):
    U, S, _ = np.linalg.svd(X - X.mean(0), full_matrices=False)
    scores = (U * S)[:, :3]
    scores = scores * np.where(scores[-1] < 0, -1, 1)
    return {"explained": (np.cumsum(S**2) / (S**2).sum())[:10], "scores": scores}


def cosines(X):
    D = np.diff(X, axis=0)
    cos = lambda a, b: (a * b).sum(-1) / norm(a, axis=-1) / norm(b, axis=-1)
    return {
        "lag1": cos(D[:-1], D[1:]), "lag2": cos(D[:-2], D[2:]),
        "change_to_start": cos(D, X[0]), "change_to_end": cos(D, X[-1]), "to_start": cos(X, X[0]), "to_end": cos(X, X[-1]),
        "straightness": (norm(X[-1] - X[0]) / norm(D, axis=1).sum())[None],
    }


def rings(h, w):
    rho = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w))
    return np.minimum(np.rint(rho * max(h, w)), max(h, w) // 2 + 1).astype(int)


def over_rings(values):
    """The mean over ring and channels of `values`, [channels, h, w]."""
    ring = rings(*values.shape[1:])
    return np.array([values[:, ring == b].mean() for b in range(ring.max() + 1)])


def spectrum(x):
    h, w = x.shape[-2:]
    return {"power": np.stack([over_rings(np.abs(np.fft.fft2(v)) ** 2) / (h * w) for v in x])}


def bands(x, sigma):
    F = np.fft.fft2(x)
    per = lambda values: np.stack([over_rings(v) for v in values], 1)
    end = over_rings(np.abs(F[-1]) ** 2)[:, None]
    error = per(np.abs(F - F[-1]) ** 2) / end
    power = (end / (x.shape[-1] * x.shape[-2]))[:, 0]
    high = error > 0.1
    settled = np.array([row.nonzero()[0].max() + 1 if row.any() else 0 for row in high]) + 1
    share = np.sqrt(power[:, None] / (power[:, None] + sigma**2))
    return {
        "error": error, "coherence": per((F * F[-1].conj()).real) / np.sqrt(per(np.abs(F) ** 2) * end),
        "power": power, "settled": settled.astype(float), "gaussian_error": (1 - share) ** 2,
    }


out = {}
for name, run in [("pocket", recorded(sys.argv[1])), ("synthetic", synthetic())]:
    if name == "pocket":
        out.update({f"pocket/{key}": value for key, value in run.items()})
    x = run["latents"].astype(float) / run["latent_scale"][:, None, None, None]
    x0 = run["predicted_original"].astype(float)
    flat = lambda values: values.reshape(len(values), -1)
    parts = {
        "plane": plane(flat(x), run["alpha_cumprod"]), "pca-x": pca(flat(x)), "pca-x0": pca(flat(x0)),
        "cosines": cosines(flat(x)), "spectrum-x": spectrum(x), "spectrum-x0": spectrum(x0),
        "bands": bands(x0, run["sigma"][:-1]),
    }
    for part, values in parts.items():
        out.update({f"{name}/{part}/{key}": np.ascontiguousarray(value) for key, value in values.items()})
save_file(out, "geometry.safetensors")
