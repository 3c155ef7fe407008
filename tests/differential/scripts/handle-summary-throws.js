// known: summary: one k6 that calls its handleSummary() in vain prints a text of its own
export const options = { vus: 3, iterations: 12 };
export default function () {}
export function handleSummary() { throw new Error('no paper'); }
