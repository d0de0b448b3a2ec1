// The keyboard: everything on the page can be reached by a key, none of which fires while something is typed.
import { lessonState } from "./lesson.svelte";
import { player } from "./player.svelte";
import { session } from "./session.svelte";

/** The keys and what they do, in the order in which the help lists them; the words are in the texts, by name. */
export const KEYS = [
  ["Space", "play"],
  ["← →", "step"],
  ["Shift + ← →", "ten"],
  ["Home End", "ends"],
  ["0 – 9", "tenths"],
  ["[ ]", "speed"],
  ["P", "player"],
  ["C", "channels"],
  ["G", "guidance"],
  ["A", "words"],
  ["S", "shapes"],
  ["E", "edits"],
  ["D", "compare"],
  ["W", "sweep"],
  ["L", "lesson"],
  ["M", "live"],
  ["?", "help"],
  ["Esc", "close"],
] as const;

const MOVES: Record<string, () => void> = {
  " ": () => player.toggle(),
  Home: () => player.seek(player.first),
  End: () => player.seek(player.last),
  "[": () => player.faster(-1),
  "]": () => player.faster(1),
  p: () => session.go("player"),
  c: () => session.go("channels"),
  g: () => session.go("guidance"),
  a: () => session.go("words"),
  s: () => session.go("shapes"),
  e: () => session.go("edits"),
  d: () => session.go("compare"),
  w: () => session.go("sweep"),
  l: () => session.go("lesson"),
  m: () => session.go("live"),
  "?": () => (session.help = !session.help),
  // The tour's card lies over everything else.
  Escape: () => (lessonState.page === null ? (session.stage = null) : (lessonState.page = null)),
};

/** Whether a key belongs to what has the focus. */
function isTaken(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target.isContentEditable || target.closest("dialog")) return true;
  const name = target.tagName;
  if (name === "TEXTAREA" || name === "SELECT") return true;
  if (name === "INPUT") {
    const type = (target as HTMLInputElement).type;
    // A slider or a choice has its own arrows; letters and Space on a slider are ours.
    if (type === "range") return ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(key);
    return type !== "checkbox" && type !== "radio" ? true : key.startsWith("Arrow") || key === " ";
  }
  // Space and Enter press a button that has the focus.
  return (name === "BUTTON" || name === "SUMMARY" || name === "A") && (key === " " || key === "Enter");
}

/** Does what a key stands for. */
export function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey || isTaken(event.target, event.key)) return;
  const done = act(event);
  if (done) event.preventDefault();
}

function act(event: KeyboardEvent): boolean {
  const { key } = event;
  // Without a player on the screen its keys are the browser's: they scroll.
  if ((session.view === "live" || session.runs.length === 0) && !/^[a-z?]$/i.test(key)) return false;
  if (key === "ArrowLeft" || key === "ArrowRight") {
    player.move((key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 10 : 1));
    return true;
  }
  if (/^[0-9]$/.test(key)) {
    player.seek(player.first + (Number(key) / 10) * (player.last - player.first));
    return true;
  }
  const move = MOVES[key] ?? MOVES[key.toLowerCase()];
  move?.();
  return move !== undefined;
}
