// A server's runs: `README.md` has the requests.
import type { Source } from "./source";
import type { Kept, Quantity, RunData, What } from "./types";

export class HttpSource implements Source {
  /** `api` is the interface's root, `/api`. */
  constructor(readonly api: string) {}

  /** What there is of a run. */
  async describe(run: string): Promise<RunData> {
    const answer = await fetch(`${this.api}/runs/${run}/record`);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return (await answer.json()) as RunData;
  }

  numbers(run: string, step: number, key: Quantity, _kept: Kept): Promise<Float32Array> {
    return this.#floats(`runs/${run}/steps/${step}/${key}`);
  }

  maps(run: string, step: number): Promise<Float32Array> {
    return this.#floats(`runs/${run}/attention/${step}`);
  }

  heads(run: string, layer: number): Promise<Float32Array> {
    return this.#floats(`runs/${run}/heads/${layer}`);
  }

  async #floats(path: string): Promise<Float32Array> {
    const answer = await fetch(`${this.api}/${path}`);
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return new Float32Array(await answer.arrayBuffer());
  }

  picture(run: string, step: number, what: What): string {
    return `${this.api}/runs/${run}/pictures/${step}/${what}`;
  }

  final(run: string): string {
    return `${this.api}/runs/${run}/final`;
  }
}
