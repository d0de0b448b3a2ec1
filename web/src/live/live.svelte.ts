// The server as the page knows it: what it offers, its runs and their order, what is being made. One stream of events keeps
// it so; the browser comes back by itself when it was cut off.
import { HttpSource } from "../data/http";
import { RunView } from "../data/run";
import { session } from "../state/session.svelte";
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

  #source = new HttpSource("");
  /** When the preview came that is shown, and whether decoded pictures follow so quickly that none is needed. */
  #previewed = 0;
  #quick = false;
  #ended = 0;

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
    await this.enter();
    const named = words.get("run")?.split(",").filter(Boolean) ?? [];
    if (named.length && !this.locked) {
      await this.open(named, words.get("view") ?? undefined, words.get("step") ?? undefined);
    }
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
    this.#listen();
  }

  #listen(): void {
    const events = new EventSource(`${this.api}/events`);
    const on = <T>(kind: string, take: (told: T) => void) =>
      events.addEventListener(kind, (event) => take(JSON.parse((event as MessageEvent<string>).data) as T));
    events.onopen = () => (this.connected = true);
    events.onerror = () => {
      this.connected = false;
      // A refusal ends the stream for good: ask again from the beginning.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => void this.enter(), 2000);
    };
    on<Stand>("stand", (stand) => {
      this.runs = Object.fromEntries(stand.runs.map((run) => [run.id, run]));
      this.order = stand.order;
      this.running = stand.running;
      // Another server knows nothing of a run that this page follows, or has made it meanwhile.
      const followed = this.runs[this.followed ?? ""];
      if (followed?.state === "complete") this.#finish(followed);
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
    const image = `${this.api}/runs/${run.id}/final`;
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
    const index = session.runs.findIndex((run) => run.id === id);
    if (index >= 0) session.replace(index, await this.#view(id));
  }

  async #view(id: string): Promise<RunView> {
    return new RunView(await this.#source.describe(id), this.#source);
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
    await this.#send(`${this.api}/runs/${id}/cancel`, {});
  }

  /** Looks into runs that are recorded, the first one in front. */
  async open(ids: string[], view?: string, step?: string): Promise<void> {
    const views = await Promise.all(ids.map((id) => this.#view(id).catch(() => null)));
    const found = views.filter((run) => run !== null);
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
  return { error: told.error || `${answer.status} ${answer.statusText}`, ...(told.hint ? { hint: told.hint } : {}) };
}

export const live = new Live();

/** The address of the interface, if this page is a server's. */
export function readServer(): string | null {
  const text = document.getElementById("server")?.textContent;
  return text ? (JSON.parse(text) as { api: string }).api : null;
}
