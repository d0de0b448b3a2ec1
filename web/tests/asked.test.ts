// What the prompt box sends, and what it takes over from a run.
import { cleanup, fireEvent, render, screen } from "@testing-library/svelte";
import { tick } from "svelte";
import { afterEach, describe, expect, it } from "vitest";
import type { Plan } from "../src/data/types";
import { asked, empty, like, takesEta } from "../src/live/asked";
import { live } from "../src/live/live.svelte";
import Studio from "../src/live/Studio.svelte";
import type { Capabilities, Summary } from "../src/live/types";

afterEach(cleanup);

describe("what is asked for", () => {
  it("is nothing that was left as it is", () => {
    expect(asked({ ...empty(), prompt: "a cat" })).toEqual({ prompt: "a cat" });
  });

  it("has the scheduler and where its noise levels lie", () => {
    const fields = { ...empty(), prompt: "a cat", scheduler: "euler", sigmas: "karras" };
    expect(asked(fields)).toEqual({ prompt: "a cat", scheduler: "euler", sigmas: "karras" });
  });

  const run = { prompt: "a dog", negative_prompt: "", seed: 3, steps: 8, guidance_scale: 5, width: 64, height: 64, scheduler: "heun", pictures: 1 };
  const about = {
    model: { scheduler: "ddim", size: 128, factor: 8, steps: 25, guidance_scale: 5, small: true },
    limits: { steps: 150, size: 512, pictures: 4, prompt: 1000 },
    schedulers: [
      { name: "ddim", about: "", sigmas: [], takes_eta: true },
      { name: "euler", about: "", sigmas: ["karras"], takes_eta: false },
      { name: "tcd", about: "", sigmas: [], takes_eta: true },
    ],
  } as unknown as Capabilities;

  it("is the same again, without what the other run did not ask for", () => {
    const again = (more: object) => like({ ...run, ...more } as Summary, null, about);
    expect([again({ sigmas: "karras" }).sigmas, again({}).sigmas]).toEqual(["karras", ""]);
  });

  it("is everything that the other run was asked for", () => {
    const plan = {
      ...run, scheduler: "tcd", eta: 0.3, clip_skip: 2, prompt_syntax: "a1111", guidance_rescale: 0.7, strength: 0.4, resize: "crop",
      hires: { scale: 1.5, strength: 0.5, steps: 6, upscaler: "lanczos" }, record: ["latents"], decode: "5", attention: { detail: "sizes" },
    } as unknown as Plan;
    const again = like({ ...run, scheduler: "tcd" } as Summary, plan, about);
    expect(asked(again)).toEqual({
      prompt: "a dog", prompt_syntax: "a1111", clip_skip: 2, seed: 3, steps: 8, guidance_scale: 5, guidance_rescale: 0.7, width: 64, height: 64, scheduler: "tcd", eta: 0.3,
      pictures: 1, record: ["latents"], decode: "5", attention: true, hires: { scale: 1.5, strength: 0.5, steps: 6, upscaler: "lanczos" },
    });
    expect([again.strength, again.resize, again.image]).toEqual([0.4, "crop", null]);
    const euler = { ...plan, scheduler: "euler", decode: "every", hires: null } as Plan;
    expect(like({ ...run, scheduler: "euler" } as Summary, euler, about)).toMatchObject({ eta: null, decode: "", hires: false });
  });

  it("has no eta of a scheduler that takes none", async () => {
    live.about = about;
    render(Studio);
    await fireEvent.input(screen.getByLabelText(/^Eta/), { target: { value: "0.5" } });
    live.about = { ...about, model: { ...about.model!, scheduler: "euler" } };
    await tick();
    expect(screen.queryByLabelText(/^Eta/)).toBeNull();
    live.about = { ...about, model: { ...about.model!, scheduler: "tcd" } };
    await tick();
    expect((screen.getByLabelText(/^Eta/) as HTMLInputElement).value).toBe("");
    // A server that does not say.
    expect([takesEta({ ...about, schedulers: [] }, "ddim"), takesEta({ ...about, schedulers: [] }, "tcd")]).toEqual([true, false]);
  });

  it("is not sent while a field is wrong, and the field is shown", async () => {
    live.about = about;
    render(Studio);
    expect(document.querySelector("details")!.open).toBe(false);
    screen.getByLabelText("Width").dispatchEvent(new Event("invalid"));
    await tick();
    expect(document.querySelector("details")!.open).toBe(true);
  });
});
