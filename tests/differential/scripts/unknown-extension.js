// environment: K6_AUTO_EXTENSION_RESOLUTION=false
// verdict: Error ScriptError
import faker from 'k6/x/faker';
export const options = { vus: 3, iterations: 12 };
export default function () { console.log(faker.person.firstName()); }
