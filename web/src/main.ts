// The page's beginning: reads what it was given and shows it.
import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import "./parts/parts.css";
import "./views/views.css";
import type { Look } from "./data/attention";
import { InlineSource, readReport } from "./data/inline";
import { live, readServer } from "./live/live.svelte";
import { RunView } from "./data/run";
import { toByte, unit } from "./maths/normalise";
import { paintChannels } from "./maths/paint";
import { player } from "./state/player.svelte";
import { session } from "./state/session.svelte";

function start(): void {
  const target = document.getElementById("page");
  if (!target) return;
  target.replaceChildren();
  const server = readServer();
  if (server !== null) {
    session.serve();
    mount(App, { target });
    void live.start(server);
    expose();
    return;
  }
  const report = readReport();
  if (!report) return;
  const source = new InlineSource();
  session.open(report, report.runs.map((run) => new RunView(run, source)));
  mount(App, { target });
  expose();
  // For measurements: from here on the page answers.
  requestAnimationFrame(() => performance.mark("interactive"));
}

/** A door for tests: what the channel lab and the view of words would paint, as numbers. */
function expose(): void {
  const door = {
    player,
    session,
    async paint(step: number, channels: number[]): Promise<number[]> {
      const range = session.run.data.tensors.latents!.ranges!.run;
      const tensor = await session.run.scaled("latents", step);
      return Array.from(paintChannels(tensor!, channels, range).data);
    },
    /** A word's map as levels of grey, 0 to 255, in the range of all steps. */
    async words(step: number, word: string, look: Look): Promise<number[]> {
      const attention = session.run.attention!;
      const [map, range] = await Promise.all([attention.map(step, word, look), attention.range(word, look)]);
      return Array.from(map!.data, (value) => toByte(unit(value, range!)));
    },
  };
  Object.assign(window, { __sdviz: door });
}

start();
