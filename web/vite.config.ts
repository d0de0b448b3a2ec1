// One classic script and one style sheet: what `sdviz report` writes into its page, and what `sdviz serve` serves.
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [svelte()],
  // Without a browser's conditions Vitest would load Svelte's server half.
  resolve: process.env.VITEST ? { conditions: ["browser"] } : {},
  define: process.env.VITEST ? {} : { "process.env.NODE_ENV": '"production"' },
  build: {
    lib: { entry: "src/main.ts", formats: ["iife"], name: "sdviz", fileName: () => "page.js", cssFileName: "page" },
    target: "es2022",
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  // A busy machine may take its time; nothing here is about speed.
  test: { environment: "happy-dom", include: ["tests/**/*.test.ts"], testTimeout: 60_000 },
});
