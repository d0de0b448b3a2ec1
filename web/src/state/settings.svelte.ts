// Language, theme and size of type: the only things that are remembered, where the browser lets us.
export type Language = "en" | "zh";
export type Theme = "light" | "dark";

export const SIZES = [1, 1.2, 1.45] as const;

const STORE = "sdviz";

interface Remembered {
  language?: Language;
  theme?: Theme;
  size?: number;
}

function remembered(): Remembered {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") as Remembered;
  } catch {
    // A page from a file may have no storage.
    return {};
  }
}

function preferredLanguage(): Language {
  return navigator.language?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

function preferredTheme(): Theme {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

class Settings {
  language = $state<Language>("en");
  theme = $state<Theme>("light");
  /** A place in SIZES. */
  size = $state(0);

  constructor() {
    const known = remembered();
    this.language = known.language ?? preferredLanguage();
    this.theme = known.theme ?? preferredTheme();
    this.size = Math.min(Math.max(known.size ?? 0, 0), SIZES.length - 1);
  }

  /** Puts the settings on the page, and remembers them. To be called in an effect. */
  apply(): void {
    const root = document.documentElement;
    root.lang = this.language === "zh" ? "zh-Hans" : "en";
    root.dataset.theme = this.theme;
    root.style.fontSize = `${100 * SIZES[this.size]!}%`;
    try {
      const known: Remembered = { language: this.language, theme: this.theme, size: this.size };
      localStorage.setItem(STORE, JSON.stringify(known));
    } catch {
      // Not remembered, then.
    }
  }
}

export const settings = new Settings();
