import type { Texts } from "./index.svelte";
import { en } from "./en";
export const zh: Texts = en;
