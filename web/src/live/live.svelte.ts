// The server as the page knows it: what it offers, its runs and their order, what is being made. One stream of events keeps
// it so; the browser comes back by itself when it was cut off.
import { HttpSource, runAddress } from "../data/http";
import { RunView } from "../data/run";
import { t } from "../i18n/index.svelte";
import { place, session, type Place, type View } from "../state/session.svelte";
import { player } from "../state/player.svelte";
import type { Plan } from "../data/types";
import type { Capabilities, Preview, Refused, Stand, StepTold, Summary } from "./types";

/** What is seen of the run that is being made. */
export interface Seen {
  run: string;
  step: number;
  last: number;
  image: string;
  kind: "noise" | "preview" | "decoded" | "sketched" | "final";
}

/** A decoded picture that comes within so many milliseconds of its preview stands alone from then on. */
const QUICK = 600;
/** How long a finished picture stays before somebody else's run takes its place. */
const LOOKED_AT = 10_000;
/** How long a page that nobody sees goes on to listen. A browser has six connections to a server, for all its tabs. */
const UNSEEN = 5_000;

class Live {
  /** The interface's root; empty in a report. */
  api = $state("");
  about = $state.raw<Capabilities | null>(null);
  /** Whether the join code is asked for. */
  locked = $state(false);
  connected = $state(true);
  runs = $state.raw<Record<string, Summary>>({});
  order = $state.raw<string[]>([]);
  running = $state<string | null>(null);
  seen = $state.raw<Seen | null>(null);
  /** The run that is followed: the one that was asked for last here, else whichever is being made. */
  followed = $state<string | null>(null);
  /** What was to be opened and is not here; empty when all was. */
  lost = $state.raw<{ id: string; why: "none" | "broken" }[]>([]);

  #events: EventSource | null = null;
  /** Where the address leads, until one is let in. */
  #wanted: Place | null = null;
  #source = new HttpSource("");
  /** When the preview came that is shown, and whether decoded pictures follow so quickly that none is needed. */
  #previewed = 0;
  #quick = false;
  #ended = 0;
  #unseen: ReturnType<typeof setTimeout> | undefined;

  get sorted(): Summary[] {
    return Object.values(this.runs).sort((a, b) => b.asked_unix - a.asked_unix || (a.id < b.id ? 1 : -1));
  }

  /** The run whose making is shown. */
  get current(): Summary | null {
    return this.runs[this.followed ?? ""] ?? this.runs[this.running ?? ""] ?? null;
  }

  isMine(run: Summary): boolean {
    return run.visitor !== undefined && run.visitor === this.about?.visitor;
  }

  mayCancel(run: Summary): boolean {
    return this.isMine(run) || this.about?.role === "host";
  }

  /** Begins: comes in by the code in the address if there is one, opens what the address names. */
  async start(api: string): Promise<void> {
    this.api = api;
    this.#source = new HttpSource(api);
    const words = new URLSearchParams(location.hash.slice(1));
    const code = words.get("code");
    if (code) {
      history.replaceState(null, "", location.pathname);
      await this.join(code);
    }
    document.addEventListener("visibilitychange", () => this.#seen());
    this.#wanted = place(location.hash);
    await this.enter();
  }

  /** Goes to a place that an address names. What is looked at already is not asked for again. */
  async goTo({ runs, picture, view, step }: Place): Promise<void> {
    if (this.locked) return;
    const shown = [session.main, ...(runs.length > 1 ? session.others : [])].map((i) => session.runs[i]);
    const same = runs.length > 0 && runs.join("/") === shown.map((run) => run?.id).join("/");
    const batch = picture === null ? 0 : picture - 1;
    if (runs.length && !(same && shown[0]!.data.batch === batch)) return this.open(runs, view, step, batch);
    if (view) session.go(view);
    if (step !== null && session.runs.length) player.seek(step);
  }

  /** Listens while the page is seen. Who comes back is told how it all stands, as at first. */
  #seen(): void {
    clearTimeout(this.#unseen);
    if (document.hidden) this.#unseen = setTimeout(() => this.#hush(), UNSEEN);
    else if (this.about && !this.#events) this.#listen();
  }

  #hush(): void {
    this.#events?.close();
    this.#events = null;
  }

  /** Sends the code. Gives what is wrong with it, if anything is. */
  async join(code: string): Promise<Refused | null> {
    const answer = await this.#send("/join", { code });
    return answer.ok ? null : refusal(answer);
  }

  /** Asks what the server offers, and listens. */
  async enter(): Promise<void> {
    const answer = await fetch(`${this.api}/capabilities`).catch(() => null);
    this.connected = answer !== null;
    this.locked = answer?.status === 401;
    if (!answer?.ok) {
      if (!this.locked) setTimeout(() => void this.enter(), 2000);
      return;
    }
    this.about = (await answer.json()) as Capabilities;
    if (!document.hidden) this.#listen();
    const wanted = this.#wanted;
    this.#wanted = null;
    if (wanted) await this.goTo(wanted);
  }

  #listen(): void {
    this.#hush();
    const events = new EventSource(`${this.api}/events`);
    this.#events = events;
    const on = <T>(kind: string, take: (told: T) => void) =>
      events.addEventListener(kind, (event) => take(JSON.parse((event as MessageEvent<string>).data) as T));
    events.onopen = () => (this.connected = true);
    events.onerror = () => {
      this.connected = false;
      if (events.readyState !== EventSource.CLOSED || this.#events !== events) return;
      // A refusal ends the stream for good: ask again from the beginning.
      this.#events = null;
      setTimeout(() => void this.enter(), 2000);
    };
    on<Stand>("stand", (stand) => {
      this.runs = Object.fromEntries(stand.runs.map((run) => [run.id, run]));
      this.order = stand.order;
      this.running = stand.running;
      // Another server knows nothing of a run that this page follows, or has made it meanwhile.
      const followed = this.runs[this.followed ?? ""];
      if (followed?.state === "complete") this.#finish(followed);
      // What was opened while it was made may have come to its end unseen.
      for (const { id, record } of session.runs) {
        const now = this.runs[id]?.state;
        if (record.status === "running" && now !== "running" && now !== "queued") void this.#refresh(id);
      }
    });
    on<Summary>("run", (run) => this.#takeRun(run));
    on<{ running: string | null; order: string[] }>("queue", (queue) => {
      this.order = queue.order;
      this.running = queue.running;
    });
    on<Preview>("preview", (preview) => this.#takePreview(preview));
    on<StepTold>("step", (step) => this.#takeStep(step));
  }

  #takeRun(run: Summary): void {
    this.runs = { ...this.runs, [run.id]: run };
    if (run.state === "running") this.#begins(run);
    if (run.state !== "queued") this.order = this.order.filter((id) => id !== run.id);
    if (run.state === "complete" || run.state === "failed" || run.state === "cancelled") {
      if (this.running === run.id) this.running = null;
      if (run.state === "complete" && this.current?.id === run.id) this.#finish(run);
      void this.#refresh(run.id);
    }
  }

  /** A run begins: it is followed if it is one's own, or if what was followed is done and was looked at for a while. */
  #begins(run: Summary): void {
    this.running = run.id;
    if (this.followed === run.id) return;
    const open = ["queued", "running"].includes(this.runs[this.followed ?? ""]?.state ?? "");
    if (!open && (this.isMine(run) || Date.now() - this.#ended > LOOKED_AT)) this.followed = run.id;
  }

  #finish(run: Summary): void {
    this.#ended = Date.now();
    const image = `${runAddress(this.api, run.id)}/final`;
    this.seen = { run: run.id, step: run.last_step, last: run.last_step, image, kind: "final" };
  }

  #takePreview({ run, step, last_step, what, image }: Preview): void {
    if (this.current?.id !== run) return;
    // Where the decoder is quick, the two kinds of pictures would flicker.
    if (this.#quick && step > 1) return;
    if (step === 0) this.#quick = false;
    this.#previewed = Date.now();
    this.seen = { run, step, last: last_step, image, kind: what === "latents" ? "noise" : "preview" };
  }

  #takeStep({ run, step, last_step, pictures, preview_decoder }: StepTold): void {
    const known = this.runs[run];
    if (known) this.runs = { ...this.runs, [run]: { ...known, step, last_step } };
    const what = pictures.includes("predicted_original") ? "predicted_original" : pictures[0];
    if (this.current?.id !== run || !what || step === 0) return;
    const image = this.#source.picture(run, step, what);
    // It is shown when it is here, unless something newer is by then.
    const waiting = new Image();
    waiting.onload = () => {
      const seen = this.seen;
      if (this.current?.id !== run || (seen?.run === run && (seen.step > step || seen.kind === "final"))) return;
      this.#quick ||= step === 1 && Date.now() - this.#previewed < QUICK;
      this.seen = { run, step, last: last_step, image, kind: preview_decoder ? "sketched" : "decoded" };
    };
    waiting.src = image;
  }

  /** A run that was opened while it was made has more to show now. */
  async #refresh(id: string): Promise<void> {
    const known = session.runs.find((run) => run.id === id);
    if (known) await this.look(id, known.data.batch);
  }

  /** Looks at a picture of the batch of a run that is open. */
  async look(id: string, batch: number): Promise<void> {
    const run = await this.#view(id, batch).catch(() => null);
    const index = session.runs.findIndex((one) => one.id === id);
    if (run && index >= 0) session.replace(index, run);
  }

  async #view(id: string, batch = 0): Promise<RunView | null> {
    const source = batch > 0 ? new HttpSource(this.api, batch) : this.#source;
    const told = await source.describe(id);
    return told && new RunView(told, source);
  }

  /** What was asked for of a run that is recorded; null where that cannot be read. */
  async plan(id: string): Promise<Plan | null> {
    const told = await this.#source.describe(id).catch(() => null);
    return told?.record.plan ?? null;
  }

  /** Queues a run. Gives what is wrong, if anything is. */
  async submit(asked: object): Promise<Refused | null> {
    const answer = await this.#send(`${this.api}/runs`, asked);
    if (!answer.ok) return refusal(answer);
    const run = (await answer.json()) as Summary & { place: number | null };
    this.#takeRun(this.runs[run.id] ?? run);
    // Who asks for several looks at the first until it is done.
    if (!this.current || !["queued", "running"].includes(this.current.state) || !this.isMine(this.current)) {
      this.followed = run.id;
      this.seen = null;
    }
    return null;
  }

  async cancel(id: string): Promise<void> {
    await this.#send(`${runAddress(this.api, id)}/cancel`, {});
  }

  /** Looks into runs that are recorded, the first one in front, at a picture of its batch. What is not here is said. */
  async open(ids: string[], view: View | null = null, step: number | null = null, batch = 0): Promise<void> {
    const lost: { id: string; why: "none" | "broken" }[] = [];
    const read = async (id: string, i: number): Promise<RunView | null> => {
      const run = await this.#view(id, i === 0 ? batch : 0).catch(() => "broken" as const);
      if (run === null || run === "broken") lost.push({ id, why: run ?? "none" });
      return run === "broken" ? null : run;
    };
    const views = await Promise.all(ids.map(read));
    const found = views.filter((run) => run !== null);
    this.lost = lost;
    if (!found.length) return;
    session.look(found, view, step);
    window.scrollTo(0, 0);
  }

  #send(path: string, body: object): Promise<Response> {
    return fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(
      () => new Response(JSON.stringify({ error: "" }), { status: 503 }),
    );
  }
}

async function refusal(answer: Response): Promise<Refused> {
  const told = (await answer.json().catch(() => ({}))) as Partial<Refused>;
  // Nothing answered at all, unless it says why.
  const cut = answer.status === 503 ? t().live.cutOff : `${answer.status} ${answer.statusText}`;
  return { error: told.error || cut, ...(told.hint ? { hint: told.hint } : {}) };
}

export const live = new Live();

/** The address of the interface, if this page is a server's. */
export function readServer(): string | null {
  const text = document.getElementById("server")?.textContent;
  return text ? (JSON.parse(text) as { api: string }).api : null;
}
