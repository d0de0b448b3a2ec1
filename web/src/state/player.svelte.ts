// The one scrubber: which step everything shows, and playing through the steps.
export const SPEEDS = [0.5, 1, 2, 4] as const;

/** Steps a second at speed 1. */
const PACE = 5;

class Player {
  /** The steps that can be shown, ascending. */
  steps = $state.raw<readonly number[]>([0]);
  /** The step that is shown: one of `steps`. */
  step = $state(0);
  playing = $state(false);
  /** A place in SPEEDS. */
  speed = $state(1);

  #timer: ReturnType<typeof setInterval> | undefined;

  get first(): number {
    return this.steps[0] ?? 0;
  }

  get last(): number {
    return this.steps.at(-1) ?? 0;
  }

  /** The place of the step among the steps. */
  get index(): number {
    return Math.max(this.steps.indexOf(this.step), 0);
  }

  /** Takes a run's steps, and goes to one of them: at the beginning of the page to a half-made picture. */
  load(steps: readonly number[], share = 0.6): void {
    this.steps = steps.length ? steps : [0];
    this.seek(this.steps[Math.round(share * (this.steps.length - 1))]!);
  }

  /** Shows the nearest step there is. */
  seek(step: number): void {
    this.step = this.steps.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best), this.first);
  }

  /** Goes some places on, or back. */
  move(by: number): void {
    const index = Math.min(Math.max(this.index + by, 0), this.steps.length - 1);
    this.step = this.steps[index]!;
  }

  faster(by: number): void {
    this.speed = Math.min(Math.max(this.speed + by, 0), SPEEDS.length - 1);
    if (this.playing) this.#start();
  }

  toggle(): void {
    if (this.playing) return this.pause();
    if (this.step === this.last) this.step = this.first;
    this.playing = true;
    this.#start();
  }

  pause(): void {
    this.playing = false;
    clearInterval(this.#timer);
  }

  #start(): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.move(1);
      if (this.step === this.last) this.pause();
    }, 1000 / (PACE * SPEEDS[this.speed]!));
  }
}

export const player = new Player();
