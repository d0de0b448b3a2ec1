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
import Guidance from "../src/views/Guidance.svelte";
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
