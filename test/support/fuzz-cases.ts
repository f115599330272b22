/** How much of all cases each property gets; together 100. */
const percent = {
	"config text": 15,
	"config fields": 20,
	"mount plan": 20,
	"written options": 5,
	"any options": 5,
	"mount options": 10,
	"secret paths": 5,
	sources: 5,
	environment: 5,
	"mountinfo lines": 4,
	"mountinfo garbage": 3,
	"mountinfo layers": 3,
} as const;

/** The number of cases for a property. FUZZ_CASES is the number for all of them together. */
export function fuzzCases(property: keyof typeof percent): number {
	const all = Number(process.env["FUZZ_CASES"] || 2000);
	if (!Number.isSafeInteger(all) || all < 1)
		throw new Error(`FUZZ_CASES is not a number of cases: ${process.env["FUZZ_CASES"]}`);
	return Math.ceil((all * percent[property]) / 100);
}

/** How long the model test plays each seed. FUZZ_SECONDS sets it. */
export function playSeconds(): number {
	const seconds = Number(process.env["FUZZ_SECONDS"] || 20);
	if (!(seconds > 0)) throw new Error(`FUZZ_SECONDS is not a number of seconds: ${process.env["FUZZ_SECONDS"]}`);
	return seconds;
}
