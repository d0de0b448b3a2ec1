// What the views say of a run, and of which step.
import { cleanup, fireEvent, render, screen } from "@testing-library/svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { short } from "../src/i18n/index.svelte";
import { norm } from "../src/maths/vectors";
import { lab } from "../src/state/lab.svelte";
import { player } from "../src/state/player.svelte";
import { session } from "../src/state/session.svelte";
import { settings } from "../src/state/settings.svelte";
import Channels from "../src/views/Channels.svelte";
import Compare from "../src/views/Compare.svelte";
import DifferenceMap from "../src/views/DifferenceMap.svelte";
import Guidance from "../src/views/Guidance.svelte";
import Player from "../src/views/Player.svelte";
import Sweep from "../src/views/Sweep.svelte";
import Overview from "../src/overview/Overview.svelte";
import Chart from "../src/parts/Chart.svelte";
import Noise from "../src/parts/Noise.svelte";
import { made, report, view, type Made } from "./made";

function open(...runs: Made[]): void {
  location.hash = "";
  session.view = "player";
  session.open(report(runs.map((one) => one.run)), runs.map(view));
}

/** A run whose step 10 begins a second pass, of the same size. */
function twice(): Made {
  const one = made();
  one.run.record.hires = { first_step: 10, width: 128, height: 128, scale: 1 };
  for (const [key, kept] of Object.entries(one.run.tensors)) if (key !== "latents") kept.steps = kept.steps.filter((step) => step !== 10);
  one.run.pictures.predicted_original!.steps = one.run.pictures.predicted_original!.steps.filter((step) => step !== 10);
  return one;
}

const text = () => document.body.textContent!;
const appears = (words: string) => vi.waitFor(() => expect(text()).toContain(words));

beforeEach(() => {
  settings.language = "en";
  lab.what = "latents";
  lab.scale = null;
});

afterEach(cleanup);

describe("guidance", () => {
  it("shows the prediction that the run used, and says what was done to it", async () => {
    const one = made({ rescale: 0.7 });
    open(one);
    render(Guidance);
    await appears("The guided prediction");
    const guided = await session.run.tensor("noise_guided", player.step);
    const caption = [...document.querySelectorAll("figcaption")].find((c) => c.textContent!.includes("The guided prediction"))!;
    expect(caption.textContent).toContain(`length ${short(norm(guided!.data))}`);
    expect(text()).toContain("φ = 0.7");
    await appears("differs by 0 ");
    await fireEvent.input(screen.getByRole("slider"), { target: { value: "15" } });
    await vi.waitFor(() => expect(text()).not.toContain("differs by 0 "));
  });

  it("tries no other scale where the prediction was changed on its way", async () => {
    const one = made();
    // The recorded prediction is now another step's.
    one.blocks[`t-0-noise_guided-${15}`] = one.blocks["t-0-noise_guided-3"]!;
    open(one);
    render(Guidance);
    await appears("it was changed on its way");
    expect(screen.queryByRole("slider")).toBeNull();
  });

  it("says what with means where AND joins prompts", async () => {
    const one = made();
    one.run.record.conditions = { prompt: [{ weight: 1 }, { weight: 0.5 }] };
    open(one);
    render(Guidance);
    await appears("parts that AND joins");
  });
});

describe("another step than the one that was asked for", () => {
  it("is named in guidance and channels", async () => {
    const thin = made();
    for (const kept of Object.values(thin.run.tensors)) kept.steps = kept.steps.filter((step) => step % 2 === 1);
    open(thin);
    player.seek(4);
    for (const View of [Guidance, Channels]) {
      render(View);
      await appears("shown: step 3, the nearest that is here");
      player.seek(5);
      await vi.waitFor(() => expect(text()).not.toContain("shown: step"));
      player.seek(4);
      cleanup();
    }
  });

  it("is not shown where a second pass begins: nothing was predicted there", async () => {
    open(twice());
    player.seek(10);
    render(Guidance);
    await appears("the second pass begins");
    cleanup();
    lab.what = "noise_text";
    render(Channels);
    await appears("the second pass begins");
    expect(document.querySelector("canvas")).toBeNull();
  });
});

describe("a run of two passes", () => {
  it("has the picture's own size on the arrow, its calls counted, and a word for the step between", async () => {
    const one = twice();
    one.run.record.hires = { first_step: 10, width: 256, height: 256, scale: 2 };
    open(one);
    player.seek(10);
    session.stage = "steps";
    render(Overview);
    expect(document.querySelector(".arrow.last")!.textContent).toBe("1×3×256×256");
    expect(text()).toContain("24 times the model looks");
    expect(text()).toContain("the second pass begins");
    session.stage = "prompt";
    await appears("128×128, then 256×256");
    session.stage = null;
    cleanup();
    render(Noise, { run: session.run, step: 10, alt: "" });
    expect(text()).toContain("the second pass begins");
    expect(text()).not.toContain("--record all");
  });

  it("has no line from one pass to the other", () => {
    const points: [number, number][] = [[8, 1], [9, 2], [11, 3], [12, 4]];
    const lines = () => document.querySelector(".plot path")!.getAttribute("d")!.match(/[ML]/g)!.join("");
    render(Chart, { title: "Change", series: [{ name: "change", points }] });
    expect(lines()).toBe("MLLL");
    cleanup();
    render(Chart, { title: "Change", series: [{ name: "change", points }], cut: 10 });
    expect(lines()).toBe("MLML");
  });
});

describe("several runs", () => {
  it("of transposed sizes have no difference that could be drawn", async () => {
    const [wide, tall] = [made(), made({ id: "1" })];
    Object.assign(wide.run.record.plan, { width: 256, height: 64 });
    Object.assign(tall.run.record.plan, { width: 64, height: 256 });
    open(wide, tall);
    render(DifferenceMap, { a: session.runs[0]!, b: session.runs[1]!, steps: [5, 5], what: "latents" });
    await appears("different sizes");
    expect(document.querySelector("canvas")).toBeNull();
  });

  it("stand as far on their way as was planned, and one that ended early says so", async () => {
    const killed = made({ id: "1" });
    killed.run.steps = [0, 1, 2, 3];
    killed.run.record.status = "killed";
    open(made(), killed);
    player.seek(20);
    render(Compare);
    expect(text()).toContain("run-2 ended early, and is shown at its last whole step, 3.");
    expect(text()).toContain("step 3 of 25");
    player.seek(2);
    await vi.waitFor(() => expect(text()).not.toContain("ended early"));
    expect(text()).toContain("step 2 of 25");
    // Looked at, it is where it was, not as far among the steps that it has.
    session.show(1);
    expect(player.step).toBe(2);
  });

  it("of a sweep too", () => {
    const killed = made({ id: "1" });
    killed.run.steps = [0, 1, 2, 3];
    open(made(), killed);
    session.report = report(session.runs.map((run) => run.data), { name: "sweep", axes: [{ name: "seed", title: "seed", labels: ["1", "2"] }], cells: [{ id: "a", at: [0], run: "0" }, { id: "b", at: [1], run: "1" }] });
    player.seek(20);
    render(Sweep);
    expect(text()).toContain("ended early, at step 3");
  });
});

it("latents that a scheduler keeps larger are said to be", () => {
  const one = made();
  one.run.record.schedule[15]!.latent_scale = 1.47;
  open(one);
  session.stage = "steps";
  render(Overview);
  expect(text()).toContain("1.47 times that");
  session.stage = null;
});

it("Chinese has its own marks between its words", async () => {
  settings.language = "zh";
  open(made());
  for (const View of [Player, Guidance, Channels]) {
    render(View);
    await vi.waitFor(() => expect(document.querySelector("canvas, img")).not.toBeNull());
    const said = [...document.querySelectorAll("[aria-label]")].map((one) => one.getAttribute("aria-label")!);
    said.push(...[...document.querySelectorAll("[alt]")].map((one) => one.getAttribute("alt")!), text());
    expect(said.flatMap((words) => words.match(/[一-鿿][,:;] ?.{0,8}/g) ?? [])).toEqual([]);
    cleanup();
  }
});
