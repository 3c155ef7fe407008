// in place: no paper
export const options = { vus: 3, iterations: 12 };
export default function () {}
export function handleSummary(data) {
  console.log('DATA' + JSON.stringify(data));
  throw new Error('no paper');
}
