// What is on its way: a value that comes at once where it is known, else when it arrives. The one before stays until then,
// so that nothing flickers while the scrubber moves.

type Later<T> = T | Promise<T>;

export class Loaded<T> {
  value = $state.raw<T | null>(null);
  /** Why what was last asked for did not come; then there is no value, for the one before is of something else. */
  failed = $state.raw<unknown>(null);
  #wanted = 0;

  /** `get` is read in an effect: it is asked again when what it reads changes. Null: there is none. */
  constructor(get: () => Later<T | null> | null) {
    $effect.pre(() => {
      const number = ++this.#wanted;
      const coming = get();
      if (!(coming instanceof Promise)) {
        this.value = coming;
        this.failed = null;
        return;
      }
      coming.then(
        (value) => {
          if (number !== this.#wanted) return;
          this.value = value;
          this.failed = null;
        },
        (reason: unknown) => {
          if (number !== this.#wanted) return;
          this.value = null;
          this.failed = reason ?? new Error("it did not come");
        },
      );
    });
  }
}

/** Several tensors at once; null where one is not there. */
export function all<T>(parts: (Later<T> | null)[]): Later<T[]> | null {
  if (parts.some((part) => part === null)) return null;
  const there = parts as Later<T>[];
  return there.some((part) => part instanceof Promise) ? Promise.all(there) : (there as T[]);
}
