// The page of a server, with a server that the test plays.
import { cleanup, fireEvent, render, screen } from "@testing-library/svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import App from "../src/App.svelte";
import { HttpSource } from "../src/data/http";
import { live } from "../src/live/live.svelte";
import RunList from "../src/live/RunList.svelte";
import type { Capabilities, Summary } from "../src/live/types";
import Help from "../src/parts/Help.svelte";
import StepPicture from "../src/parts/StepPicture.svelte";
import { player } from "../src/state/player.svelte";
import { place, session } from "../src/state/session.svelte";
import { settings } from "../src/state/settings.svelte";
import { made } from "./made";

const about: Capabilities = {
  version: "0.1.0",
  read_only: false,
  model: { id: "pocket", name: "pocket", size: 128, factor: 8, guidance_scale: 5, steps: 25, scheduler: "ddim", small: true },
  limits: { steps: 150, size: 512, pictures: 4, queue_per_visitor: 3, seconds: 600, prompt: 1000 },
  schedulers: [{ name: "ddim", about: "", sigmas: [] }, { name: "euler", about: "", sigmas: ["karras"] }],
  visitor: "me",
  role: "host",
  join: null,
};

const summary = (more: Partial<Summary>): Summary => ({
  id: "k", state: "complete", asked_unix: 1, prompt: "a cat", negative_prompt: "", seed: 1, steps: 25, guidance_scale: 5, scheduler: "ddim",
  width: 128, height: 128, pictures: 1, step: 25, last_step: 25, ...more,
});

class Stream {
  static all: Stream[] = [];
  static CLOSED = 2;
  readyState = 1;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  #takers = new Map<string, (event: { data: string }) => void>();

  constructor(readonly address: string) {
    Stream.all.push(this);
  }

  addEventListener(kind: string, take: (event: { data: string }) => void): void {
    this.#takers.set(kind, take);
  }

  tell(kind: string, data: unknown): void {
    this.#takers.get(kind)!({ data: JSON.stringify(data) });
  }

  close(): void {
    this.readyState = 2;
  }

  static get open(): Stream[] {
    return Stream.all.filter((one) => one.readyState === 1);
  }
}

/** What was asked for, and what is answered: JSON by the address, 404 to the rest; null: nobody is there. */
let asked: string[] = [];
let answers: Record<string, unknown> | null = {};

function answer(address: string): Promise<Response> {
  asked.push(address);
  if (answers === null) return Promise.reject(new TypeError("Failed to fetch"));
  const told = answers[address];
  return Promise.resolve(told === undefined ? new Response("{}", { status: 404 }) : new Response(JSON.stringify(told)));
}

const described = (id: string, change: (run: ReturnType<typeof made>["run"]) => void = () => {}) => {
  const { run } = made();
  Object.assign(run, { id, name: id });
  change(run);
  return run;
};

function seen(is: boolean): void {
  Object.defineProperty(document, "hidden", { configurable: true, value: !is });
  document.dispatchEvent(new Event("visibilitychange"));
}

beforeEach(async () => {
  vi.stubGlobal("EventSource", Stream);
  vi.stubGlobal("fetch", answer);
  vi.stubGlobal("scrollTo", () => {});
  Stream.all = [];
  asked = [];
  answers = { "/api/capabilities": about };
  settings.language = "en";
  location.hash = "";
  Object.assign(session, { runs: [], report: null, main: 0, others: [], view: "live", served: true });
  Object.assign(live, { lost: [], runs: {}, order: [], running: null, seen: null, followed: null, connected: true });
  await live.start("/api");
});

afterEach(() => {
  cleanup();
  seen(true);
  vi.useRealTimers();
  session.served = false;
});

const text = () => document.body.textContent!;

describe("a tab that is not seen", () => {
  it("leaves its connection to others, and listens again when it is seen", async () => {
    expect(Stream.open).toHaveLength(1);
    vi.useFakeTimers();
    seen(false);
    vi.advanceTimersByTime(1_000);
    seen(true);
    vi.advanceTimersByTime(20_000);
    expect(Stream.all.filter((one) => one.readyState === 1)).toHaveLength(1);
    seen(false);
    vi.advanceTimersByTime(20_000);
    expect(Stream.open).toHaveLength(0);
    seen(true);
    expect(Stream.open).toHaveLength(1);
    expect(live.connected).toBe(true);
  });

  it("is told when it comes back what became of the run that it looks at", async () => {
    answers!["/api/runs/k/record"] = described("k", (run) => {
      run.record.status = "running";
      run.steps = [0, 1, 2];
    });
    await live.open(["k"]);
    expect(session.run.last).toBe(2);
    answers!["/api/runs/k/record"] = described("k");
    Stream.open[0]!.tell("stand", { runs: [summary({})], order: [], running: null });
    await vi.waitFor(() => expect(session.run.last).toBe(25));
  });
});

describe("a link", () => {
  it("is followed in a tab that has the page, and the page's own writing is not", async () => {
    answers!["/api/runs/k/record"] = described("k");
    await live.open(["k"]);
    render(App);
    vi.spyOn(location, "replace").mockImplementation((to) => void (location.hash = String(to)));
    location.hash = "#run=k&view=guidance&step=8";
    window.dispatchEvent(new Event("hashchange"));
    await vi.waitFor(() => expect([session.view, player.step]).toEqual(["guidance", 8]));
    expect(asked.filter((one) => one.endsWith("/record"))).toHaveLength(1);
    player.seek(12);
    await vi.waitFor(() => expect(location.hash).toContain("step=12"));
    player.seek(13);
    window.dispatchEvent(new Event("hashchange"));
    expect(player.step).toBe(13);
    answers!["/api/runs/other/record"] = described("other");
    location.hash = "#run=other&view=player&step=3";
    window.dispatchEvent(new Event("hashchange"));
    await vi.waitFor(() => expect([session.run.id, player.step]).toEqual(["other", 3]));
  });

  it("to what is not here says so, and stays", async () => {
    answers!["/api/runs/..%2Fopenapi.json%3Fx%3D/record"] = { openapi: "3.1.0" };
    for (const [id, says] of [["nosuchrun", "There is no run “nosuchrun” here."], ["../openapi.json?x=", "cannot be read"]] as const) {
      location.hash = `#run=${encodeURIComponent(id)}`;
      await live.goTo(place(location.hash));
      render(App);
      expect(text()).toContain(says);
      const before = location.hash;
      await new Promise((done) => setTimeout(done, 500));
      expect(location.hash).toBe(before);
      cleanup();
    }
    expect(asked).toContain("/api/runs/..%2Fopenapi.json%3Fx%3D/record");
  });

  it("names runs of any name, and which picture of a batch", async () => {
    for (const id of ["a,b%2C", "苹果", "my run"]) {
      answers![`/api/runs/${encodeURIComponent(id)}/record`] = described(id);
      answers![`/api/runs/${encodeURIComponent(id)}/record?batch=2`] = described(id, (run) => (run.batch = 2));
      await live.open([id]);
      await live.look(id, 2);
      expect(session.run.data.batch).toBe(2);
      expect(place(session.address)).toMatchObject({ runs: [id], picture: 3, view: "player" });
    }
    const source = new HttpSource("/api", 2);
    expect([source.picture("my run", 3, "latents"), source.final("my run")]).toEqual(["/api/runs/my%20run/pictures/3/latents?batch=2", "/api/runs/my%20run/final?batch=2"]);
  });
});

describe("pictures of a batch", () => {
  it("are chosen in the player", async () => {
    const four = (batch: number) => described("k", (run) => {
      run.record.plan.batch_size = 4;
      run.batch = batch;
    });
    answers!["/api/runs/k/record"] = four(0);
    answers!["/api/runs/k/record?batch=3"] = four(3);
    await live.open(["k"], "player", 7);
    render(App);
    await fireEvent.change(screen.getByLabelText("Picture of the batch"), { target: { value: "3" } });
    await vi.waitFor(() => expect(session.run.data.batch).toBe(3));
    expect(player.step).toBe(7);
    expect(document.querySelector<HTMLImageElement>("[data-guide=large] img")!.src).toContain("batch=3");
  });
});

describe("runs that did not come to their end", () => {
  it("can be looked into where they have steps, and say why they ended", () => {
    live.runs = Object.fromEntries(
      [
        summary({ id: "1", state: "failed", failure: "it was killed", step: 7, prompt: "killed" }),
        summary({ id: "2", state: "failed", failure: "out of memory", step: 3, prompt: "failed" }),
        summary({ id: "3", state: "cancelled", step: 2, prompt: "cancelled" }),
        summary({ id: "4", state: "cancelled", step: 0, prompt: "never begun" }),
      ].map((run) => [run.id, run]),
    );
    render(RunList, { onagain: null });
    expect(["killed", "failed", "cancelled", "never begun"].map((prompt) => screen.queryByLabelText(`Look inside: ${prompt}`) !== null)).toEqual([true, true, true, false]);
    expect(text()).toContain("ended early");
    expect(text()).toContain("It was stopped from outside.");
    expect(text()).toContain("out of memory");
  });
});

it("help says what is true of a server's page, before a run is opened too", () => {
  render(Help);
  expect(text()).toContain("Served by sdviz 0.1.0.");
  expect(text()).not.toContain("Made by sdviz");
  expect(text()).not.toContain("needs no network");
});

describe("a server that is gone", () => {
  it("is said in every view, in place of a picture, and to who asks for one", async () => {
    answers!["/api/runs/k/record"] = described("k");
    await live.open(["k"]);
    live.connected = false;
    render(App);
    expect(screen.getByRole("alert").textContent).toContain("The server does not answer");
    cleanup();
    render(StepPicture, { run: session.run, step: 5, what: "latents", alt: "step 5" });
    await fireEvent.error(document.querySelector("img")!);
    expect(text()).toContain("cannot be read");
    live.connected = true;
    await vi.waitFor(() => expect(document.querySelector("img")).not.toBeNull());
    answers = null;
    expect((await live.submit({}))!.error).toContain("The server does not answer");
  });
});
