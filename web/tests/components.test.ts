import { cleanup, fireEvent, render, screen } from "@testing-library/svelte";
import { tick } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import QuestionCard from "../src/lesson/QuestionCard.svelte";
import type { Question } from "../src/lesson/questions";
import Tour from "../src/lesson/Tour.svelte";
import Chart from "../src/parts/Chart.svelte";
import Help from "../src/parts/Help.svelte";
import Missing from "../src/parts/Missing.svelte";
import Reduced from "../src/parts/Reduced.svelte";
import Segmented from "../src/parts/Segmented.svelte";
import StepPicture from "../src/parts/StepPicture.svelte";
import Transport from "../src/parts/Transport.svelte";
import { onKey } from "../src/state/keys";
import { lessonState } from "../src/state/lesson.svelte";
import { player } from "../src/state/player.svelte";
import { session } from "../src/state/session.svelte";
import { settings } from "../src/state/settings.svelte";
import Overview from "../src/overview/Overview.svelte";
import { made, report, view, type Made } from "./made";

function open(...runs: Made[]): void {
  location.hash = "";
  session.view = "player";
  session.open(report(runs.map((one) => one.run)), runs.map(view));
}

beforeEach(() => {
  settings.language = "en";
  session.stage = null;
  open(made());
});

afterEach(cleanup);

const press = (key: string, init: KeyboardEventInit = {}, target: EventTarget = document.body) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...init });
  target.addEventListener("keydown", (e) => onKey(e as KeyboardEvent), { once: true });
  target.dispatchEvent(event);
  return event;
};

describe("the player", () => {
  it("begins at a half-made picture and says where it stands", async () => {
    render(Transport);
    expect(player.step).toBe(15);
    const scrubber = screen.getByLabelText("Step");
    expect(scrubber.getAttribute("aria-valuetext")).toMatch(/^step 15 of 25, timestep 361, sigma /);
    await fireEvent.input(scrubber, { target: { value: "20" } });
    expect(player.step).toBe(20);
    await fireEvent.click(screen.getByLabelText("One step back"));
    expect(player.step).toBe(19);
  });

  it("plays to the end, at the speed that is set, and begins again from there", () => {
    vi.useFakeTimers();
    player.seek(23);
    player.speed = 3;
    player.toggle();
    vi.advanceTimersByTime(120);
    expect([player.step, player.playing]).toEqual([25, false]);
    player.toggle();
    expect([player.step, player.playing]).toEqual([0, true]);
    player.pause();
    vi.useRealTimers();
  });

  it("shows the steps that there are and no others", () => {
    player.load([0, 5, 10], 0);
    player.seek(6);
    expect(player.step).toBe(5);
    player.move(9);
    expect([player.step, player.index]).toEqual([10, 2]);
  });
});

describe("keys", () => {
  it("move, choose and open", () => {
    player.seek(10);
    press("ArrowRight");
    press("ArrowRight", { shiftKey: true });
    expect(player.step).toBe(21);
    press("4");
    expect(player.step).toBe(10);
    press("g");
    expect(session.view).toBe("guidance");
    press("d");
    expect(session.view).toBe("guidance");
    press("?");
    expect(session.help).toBe(true);
    session.help = false;
  });

  it("leave alone what is typed, what a control takes, and what belongs to the browser", () => {
    player.seek(10);
    const field = document.createElement("input");
    const button = document.createElement("button");
    const slider = Object.assign(document.createElement("input"), { type: "range" });
    document.body.append(field, button, slider);
    press("ArrowRight", {}, field);
    press("g", {}, field);
    press("ArrowRight", {}, slider);
    press("ArrowRight", { ctrlKey: true });
    expect(press(" ", {}, button).defaultPrevented).toBe(false);
    expect([player.step, player.playing, session.view]).toEqual([10, false, "player"]);
    field.remove();
    button.remove();
    slider.remove();
  });
});

describe("keys of the player", () => {
  it("are the browser's while there is no player to be seen", () => {
    player.seek(10);
    session.served = true;
    session.view = "live";
    for (const key of ["Home", "End", " ", "ArrowRight", "5", "]"]) expect(press(key).defaultPrevented, key).toBe(false);
    expect([player.step, player.playing, player.speed]).toEqual([10, false, player.speed]);
    press("g");
    expect(session.view).toBe("guidance");
    session.served = false;
  });
});

describe("the tour", () => {
  it("takes the focus, gives it back, and is closed by Escape", async () => {
    const opener = Object.assign(document.createElement("button"), { textContent: "begin" });
    document.body.append(opener);
    opener.focus();
    lessonState.tour(opener);
    render(Tour);
    await tick();
    expect(document.activeElement?.tagName).toBe("H2");
    await fireEvent.click(screen.getByText("Show"));
    // The same button goes on: the focus stays.
    await fireEvent.click(screen.getByText("Next"));
    expect(lessonState.page).toBe(1);
    await fireEvent.click(screen.getByText("Back"));
    expect(document.activeElement?.tagName).toBe("H2");
    press("Escape");
    expect(lessonState.page).toBeNull();
    cleanup();
    await tick();
    expect(document.activeElement).toBe(opener);
    opener.remove();
  });
});

describe("parts", () => {
  it("one of a few is chosen", async () => {
    const chosen = vi.fn();
    render(Segmented, { label: "Range", options: [{ value: "a", label: "one" }, { value: "b", label: "two" }], value: "a", onchange: chosen });
    expect((screen.getByLabelText("one") as HTMLInputElement).checked).toBe(true);
    await fireEvent.click(screen.getByLabelText("two"));
    expect(chosen).toHaveBeenCalledWith("b");
  });

  it("a chart says in a sentence what it shows, and as a table", async () => {
    render(Chart, { title: "Change", series: [{ name: "change", points: [[1, 0.5], [2, 0.25]] }] });
    expect(screen.getByRole("img").getAttribute("aria-label")).toBe("Change: change goes from 0.50 to 0.25");
    await fireEvent.click(screen.getByText("As a table"));
    expect(screen.getAllByRole("cell").map((cell) => cell.textContent)).toEqual(["1", "0.50", "2", "0.25"]);
  });

  it("a table looks each number up by its step, for curves need not begin together", async () => {
    render(Chart, { title: "Lengths", series: [{ name: "latents", points: [[0, 9], [1, 8], [2, 7]] }, { name: "noise", points: [[1, 5], [2, 6]] }] });
    await fireEvent.click(screen.getByText("As a table"));
    const rows = [...document.querySelectorAll("tbody tr")].map((row) => row.textContent!.trim());
    expect(rows).toEqual(["09.00–", "18.005.00", "27.006.00"]);
  });

  it("a chart without numbers says so, with the flag", () => {
    render(Chart, { title: "Guidance", series: [{ name: "share", points: [] }] });
    expect(document.body.textContent).toContain("was not recorded");
    expect(document.querySelector("code")?.textContent).toBe("--record all");
  });

  it("what is missing names each flag", () => {
    render(Missing, { says: "Not there.", flag: "--decode every --record all" });
    expect([...document.querySelectorAll("code")].map((code) => code.textContent)).toEqual(["--decode every", "--record all"]);
  });

  it("what was reduced is said, and what was not is said too", async () => {
    render(Reduced);
    expect(document.body.textContent).toContain("Everything the record holds is in this page as it was recorded.");
    cleanup();
    const small = made();
    small.run.reduced = [
      { kind: "f16", of: ["latents"], to: null },
      { kind: "lossy", of: ["pictures"], to: 60 },
      { kind: "thinned", of: ["noise_text"], to: 2 },
    ];
    small.run.tensors.predicted_original!.derived = true;
    open(small);
    render(Reduced);
    const text = document.body.textContent!;
    for (const words of ["half precision: Latents", "WebP of quality 60", "every 2nd step: Noise prediction with the prompt", "computed here from the others: Predicted original (x₀)", "--full"]) {
      expect(text).toContain(words);
    }
  });

  it("a step that was not decoded is drawn by the linear map, and says so", async () => {
    const bare = made();
    bare.run.pictures = {};
    const run = view(bare);
    render(StepPicture, { run, step: 7, what: "latents", alt: "step 7" });
    await vi.waitFor(() => expect(document.querySelector("canvas")).not.toBeNull());
    expect(document.body.textContent).toContain("colours estimated from the latents by a linear map");
    cleanup();
    bare.run.map = null;
    bare.run.tensors = {};
    render(StepPicture, { run: view(bare), step: 7, what: "latents", alt: "step 7" });
    expect(document.body.textContent).toContain("--decode every");
  });

  it("a step that cannot be read says so in its place, and the next one is shown", async () => {
    const torn = made();
    torn.run.pictures = {};
    const block = torn.blocks[`t-${torn.run.id}-latents-7`]!;
    torn.blocks[`t-${torn.run.id}-latents-7`] = block.slice(0, block.length >> 3 << 2);
    const run = view(torn);
    const { rerender } = render(StepPicture, { run, step: 6, what: "latents", alt: "step" });
    await vi.waitFor(() => expect(document.querySelector("canvas")).not.toBeNull());
    await rerender({ step: 7 });
    await vi.waitFor(() => expect(document.body.textContent).toContain("Latents cannot be read"));
    expect(document.querySelector("canvas")).toBeNull();
    await rerender({ step: 8 });
    await vi.waitFor(() => expect(document.querySelector("canvas")).not.toBeNull());
    expect(document.body.textContent).not.toContain("cannot be read");
  });

  it("what the words mean is said beside the keys", () => {
    render(Help);
    expect([...document.querySelectorAll("dt strong")].map((word) => word.textContent)).toContain("latents");
    expect(document.querySelector("kbd")).not.toBeNull();
  });

  it("a prompt is text, whatever it holds", () => {
    open(made({ prompt: "<img src=x onerror=alert(1)> </script>" }));
    render(Overview);
    expect(document.querySelector("img[src=x]")).toBeNull();
    expect(document.querySelector(".text")?.textContent).toBe("<img src=x onerror=alert(1)> </script>");
  });
});

describe("a question", () => {
  it("about expected pictures is not explained by grain, and one that was changed goes back", async () => {
    const run = session.run;
    const order: Question = {
      kind: "order",
      look: [],
      choices: [3, 9].map((step) => ({ shown: { as: "step", run, step, what: "predicted_original" }, label: { step } })),
      answer: [0, 1],
    };
    lessonState.begin(1);
    lessonState.again();
    render(QuestionCard, { asked: order, onnext: vi.fn(), onagain: vi.fn() });
    await fireEvent.click(screen.getByLabelText(/^Picture 1/));
    await fireEvent.click(screen.getByLabelText(/^Picture 2/));
    await fireEvent.click(screen.getByText("That is my guess"));
    expect(document.body.textContent).toContain("hold no grain");
    await fireEvent.click(screen.getByText("Show why"));
    expect(document.body.textContent).toContain("as it was asked at first");
  });

  const asked = (): Question => {
    const run = session.run;
    return {
      kind: "where",
      look: [{ as: "step", run, step: 9, what: "latents" }],
      choices: [3, 9, 20].map((step) => ({ shown: null, label: { step } })),
      answer: [1],
    };
  };

  it("is guessed before it is shown; a wrong guess stays beside the truth; why comes last", async () => {
    const [onnext, onagain] = [vi.fn(), vi.fn()];
    lessonState.begin(1);
    render(QuestionCard, { asked: asked(), onnext, onagain });
    const commit = screen.getByText("That is my guess") as HTMLButtonElement;
    expect(commit.disabled).toBe(true);
    expect(document.querySelector(".truth")).toBeNull();
    await fireEvent.click(screen.getByLabelText("step 20"));
    commit.focus();
    await fireEvent.click(commit);
    await vi.waitFor(() => expect(document.activeElement?.textContent).toBe("Show why"));
    expect(document.querySelector(".truth")?.textContent).toContain("step 9");
    expect(document.querySelector(".wrong")?.textContent).toContain("step 20");
    await fireEvent.click(screen.getByLabelText("step 9"));
    expect(document.querySelector(".wrong")?.textContent).toContain("step 20");
    expect(document.body.textContent).not.toContain("Our eyes need");
    await fireEvent.click(screen.getByText("Show why"));
    expect(document.body.textContent).toContain("Our eyes need");
    await vi.waitFor(() => expect(document.activeElement?.textContent).toBe("Change it, and guess again"));
    await fireEvent.click(screen.getByText("Change it, and guess again"));
    expect(onagain).toHaveBeenCalledOnce();
    expect([lessonState.right, lessonState.answers.length, lessonState.missed]).toEqual([0, 1, true]);
  });

  it("that another one led to takes the focus, one that was there at first does not", async () => {
    render(QuestionCard, { asked: asked(), onnext: vi.fn(), onagain: vi.fn() });
    await tick();
    expect(document.activeElement).toBe(document.body);
    cleanup();
    render(QuestionCard, { asked: asked(), onnext: vi.fn(), onagain: vi.fn(), goneOn: true });
    await vi.waitFor(() => expect(document.activeElement?.classList.contains("choice")).toBe(true));
  });

  it("of an order is placed click by click, and taken back", async () => {
    const run = session.run;
    const order: Question = {
      kind: "order",
      look: [],
      choices: [20, 3, 9].map((step) => ({ shown: { as: "step", run, step, what: "latents" }, label: { step } })),
      answer: [1, 2, 0],
    };
    lessonState.begin(1);
    render(QuestionCard, { asked: order, onnext: vi.fn(), onagain: vi.fn() });
    const card = (n: number) => screen.getByLabelText(new RegExp(`^Picture ${n}`));
    await fireEvent.click(card(2));
    await fireEvent.click(card(1));
    expect(card(1).getAttribute("aria-label")).toBe("Picture 1, place 2");
    await fireEvent.click(card(1));
    expect(card(1).getAttribute("aria-label")).toBe("Picture 1, not placed yet");
    await fireEvent.click(card(3));
    await fireEvent.click(card(1));
    await fireEvent.click(screen.getByText("That is my guess"));
    await tick();
    expect(document.querySelectorAll(".truth")).toHaveLength(3);
    expect(lessonState.right).toBe(1);
  });
});
