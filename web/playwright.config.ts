import { defineConfig } from "@playwright/test";

// The system's Chromium: nothing is downloaded.
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export default defineConfig({
  testDir: "e2e",
  workers: 1,
  timeout: 240_000,
  reporter: "list",
  use: {
    viewport: { width: 1366, height: 768 },
    contextOptions: { reducedMotion: "reduce" },
    launchOptions: { executablePath, args: ["--no-sandbox"] },
  },
});
