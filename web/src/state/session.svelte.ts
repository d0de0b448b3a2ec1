// Which runs the page has, which one is looked at, in which view. The address after `#` says the same, so that a place in
// a report can be passed on.
import type { RunView } from "../data/run";
import type { Report } from "../data/types";
import { isChanged } from "../views/edits";
import { player } from "./player.svelte";

export const VIEWS = ["live", "player", "channels", "guidance", "words", "shapes", "edits", "compare", "sweep", "lesson"] as const;

export type View = (typeof VIEWS)[number];

/** A place that an address names: which runs, which picture of a batch, which view, which step; null for what it does not say. */
export interface Place {
  runs: string[];
  picture: number | null;
  view: View | null;
  step: number | null;
}

/** Reads what stands after `#`. */
export function place(hash: string): Place {
  const words = new URLSearchParams(hash.slice(1));
  const number = (name: string) => (/^\d+$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  return {
    runs: (words.get("run") ?? "").split(",").filter(Boolean).map((id) => id.replaceAll("%2C", ",").replaceAll("%25", "%")),
    picture: number("picture"),
    view: VIEWS.find((name) => name === words.get("view")) ?? null,
    step: number("step"),
  };
}

/** The boxes of the overview. */
export const STAGES = ["prompt", "tokens", "embeddings", "steps", "picture"] as const;

export type Stage = (typeof STAGES)[number];

class Session {
  runs = $state.raw<RunView[]>([]);
  report = $state.raw<Report | null>(null);
  /** The run that is looked at: a place in `runs`. */
  main = $state(0);
  /** The runs it is compared with. */
  others = $state.raw<number[]>([]);
  view = $state<View>("player");
  /** The box of the overview that is open. */
  stage = $state<Stage | null>(null);
  help = $state(false);
  /** Whether a server is behind the page, which makes runs. */
  served = $state(false);

  get run(): RunView {
    return this.runs[this.main]!;
  }

  /** Whether a view has something to show. */
  offers(view: View): boolean {
    if (view === "live") return this.served;
    if (this.runs.length === 0) return false;
    if (view === "edits") return this.runs.some(isChanged);
    if (view === "compare") return this.runs.length > 1;
    if (view === "sweep") return this.report?.sweep !== null && this.report?.sweep !== undefined;
    return true;
  }

  /** Takes the runs of a page. */
  open(report: Report, runs: RunView[]): void {
    this.report = report;
    this.runs = runs;
    this.main = 0;
    this.others = runs.length > 1 ? [1] : [];
    if (report.sweep) this.view = "sweep";
    if (runs.length) player.load(this.run.data.steps);
    if (location.hash) this.goTo(place(location.hash));
  }

  /** Begins as a server's page, which has no run yet. */
  serve(): void {
    this.served = true;
    this.view = "live";
  }

  /** Takes runs in, or what is newly known of them, and looks at the first; the others stand beside it. */
  look(runs: RunView[], view: View | null = null, step: number | null = null): void {
    const known = this.runs.filter((run) => !runs.some((one) => one.id === run.id));
    this.runs = [...runs, ...known];
    this.main = 0;
    this.others = runs.length > 1 ? runs.slice(1).map((_, i) => i + 1) : known.length ? [runs.length] : [];
    player.load(this.run.data.steps);
    if (step !== null) player.seek(step);
    this.view = view !== null && this.offers(view) ? view : "player";
  }

  /** Takes what is newly known of a run. */
  replace(index: number, run: RunView): void {
    this.runs = this.runs.map((one, i) => (i === index ? run : one));
    if (index !== this.main) return;
    const { step } = player;
    player.load(run.data.steps);
    player.seek(step);
  }

  /** Looks at another run, as far on its way as the one before. */
  show(index: number): void {
    if (index === this.main || !this.runs[index]) return;
    const share = player.step / Math.max(this.run.planned, 1);
    this.others = this.others.map((other) => (other === index ? this.main : other));
    this.main = index;
    player.load(this.run.data.steps);
    player.seek(Math.round(share * this.run.planned));
  }

  go(view: View): void {
    if (this.offers(view)) this.view = view;
  }

  /** Goes to a place of a report. The address of its first run does not name it. */
  goTo({ runs, view, step }: Place): void {
    const index = this.runs.findIndex((run) => run.id === runs[0]);
    this.show(runs.length ? index : 0);
    if (view) this.go(view);
    if (step !== null) player.seek(step);
  }

  /** The address of this place: `#view=player&step=12`. */
  get address(): string {
    const words = new URLSearchParams();
    if (this.view === "live") return "#view=live";
    const shown = this.view === "compare" ? [this.main, ...this.others] : [this.main];
    const runs = shown.map((i) => this.runs[i]?.id).filter((id) => id !== undefined);
    // A name may hold the comma that stands between two.
    if (this.served) words.set("run", runs.map((id) => id.replaceAll("%", "%25").replaceAll(",", "%2C")).join(","));
    else if (this.main > 0) words.set("run", this.run.id);
    if (this.served && this.run?.data.batch > 0) words.set("picture", String(this.run.data.batch + 1));
    words.set("view", this.view);
    words.set("step", String(player.step));
    return `#${words}`;
  }
}

export const session = new Session();
