// A server's runs: `README.md` has the requests.
import type { Source } from "./source";
import type { Kept, Quantity, RunData, What } from "./types";

/** The address of a run at the interface whose root is `api`. A run is called what its folder is called. */
export function runAddress(api: string, run: string): string {
  return `${api}/runs/${encodeURIComponent(run)}`;
}

export class HttpSource implements Source {
  /** `api` is the interface's root, `/api`; `batch` which picture of a run's batch is looked at. */
  constructor(
    readonly api: string,
    readonly batch = 0,
  ) {}

  /** What there is of a run; null where there is no such run. */
  async describe(run: string): Promise<RunData | null> {
    const answer = await fetch(this.#of(run, "record"));
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const told = (await answer.json()) as RunData;
    if (!told.record?.plan) throw new Error(`what the server says of ${run} is no run`);
    return told;
  }

  numbers(run: string, step: number, key: Quantity, _kept: Kept): Promise<Float32Array> {
    return floats(this.#of(run, `steps/${step}/${key}`));
  }

  maps(run: string, step: number): Promise<Float32Array> {
    return floats(this.#of(run, `attention/${step}`));
  }

  heads(run: string, layer: number): Promise<Float32Array> {
    return floats(this.#of(run, `heads/${layer}`));
  }

  picture(run: string, step: number, what: What): string {
    return this.#of(run, `pictures/${step}/${what}`);
  }

  final(run: string): string {
    return this.#of(run, "final");
  }

  #of(run: string, what: string): string {
    return `${runAddress(this.api, run)}/${what}${this.batch > 0 ? `?batch=${this.batch}` : ""}`;
  }
}

async function floats(address: string): Promise<Float32Array> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return new Float32Array(await answer.arrayBuffer());
}
