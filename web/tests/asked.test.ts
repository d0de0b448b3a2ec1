// What the prompt box sends, and what it takes over from a run.
import { describe, expect, it } from "vitest";
import { asked, empty, like } from "../src/live/asked";
import type { Summary } from "../src/live/types";

describe("what is asked for", () => {
  it("is nothing that was left as it is", () => {
    expect(asked({ ...empty(), prompt: "a cat" })).toEqual({ prompt: "a cat" });
  });

  it("has the scheduler and where its noise levels lie", () => {
    const fields = { ...empty(), prompt: "a cat", scheduler: "euler", sigmas: "karras" };
    expect(asked(fields)).toEqual({ prompt: "a cat", scheduler: "euler", sigmas: "karras" });
  });

  it("is the same again, without what the other run did not ask for", () => {
    const run = { prompt: "a dog", negative_prompt: "", seed: 3, steps: 8, guidance_scale: 5, width: 64, height: 64, scheduler: "heun", pictures: 1 };
    const again = (more: object) => ({ ...empty(), sigmas: "beta", ...like({ ...run, ...more } as Summary) });
    expect([again({ sigmas: "karras" }).sigmas, again({}).sigmas]).toEqual(["karras", ""]);
  });
});
