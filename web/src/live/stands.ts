// How a run stands, and whether there is something of it to look into.
import type { State, Summary } from "./types";

/** What a summary says of a run that was killed: the server counts it among those that failed. */
const KILLED = "it was killed";

export function stands(run: Summary): State | "killed" {
  return run.state === "failed" && run.failure === KILLED ? "killed" : run.state;
}

/** Whether it is over: nothing more will come of it. */
export function over(run: Summary): boolean {
  return run.state !== "queued" && run.state !== "running";
}

/** Whether it is over and has steps. */
export function hasInside(run: Summary): boolean {
  return run.state === "complete" || (over(run) && run.step > 0);
}
