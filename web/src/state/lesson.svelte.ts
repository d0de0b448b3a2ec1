// Where a lesson stands: its number, which question, what was answered; and the guided tour's page.

export interface Answered {
  right: boolean;
}

class LessonState {
  /** The number that the questions come from. */
  seed = $state(1);
  /** Which question, from 0. */
  number = $state(0);
  /** How often the same question was changed and asked again. */
  turn = $state(0);
  /** What was answered so far, in order. */
  answers = $state.raw<readonly Answered[]>([]);
  /** Whether the last order was missed: the next has fewer frames. */
  missed = $state(false);
  notes = $state(false);
  /** The page of the tour; null while there is none. */
  page = $state<number | null>(null);
  /** The button that began the tour: the focus goes back to it. */
  opener: HTMLElement | null = null;

  tour(opener: HTMLElement): void {
    this.opener = opener;
    this.page = 0;
  }

  get right(): number {
    return this.answers.filter((answer) => answer.right).length;
  }

  begin(seed: number): void {
    this.seed = seed;
    this.number = 0;
    this.turn = 0;
    this.answers = [];
    this.missed = false;
  }

  answer(right: boolean): void {
    this.answers = [...this.answers, { right }];
    this.missed = !right;
  }

  next(): void {
    this.number += 1;
    this.turn = 0;
  }

  again(): void {
    this.turn += 1;
  }
}

export const lessonState = new LessonState();
