// Lesson mode in English.
export const lesson = { label: "Lesson" };
