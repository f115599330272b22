import { styleText } from "node:util";

/** What the person who runs the demo reads. Without a terminal, or with NO_COLOR, there is no colour. */
export class Screen {
	readonly #short: readonly (readonly [text: string, name: string])[];
	#step = 0;

	/** Long paths by the short names under which they are shown, such as `$POD`. */
	constructor(shortNames: Readonly<Record<string, string>>) {
		this.#short = Object.entries(shortNames).map(([name, path]) => [path, name]);
	}

	heading(text: string): void {
		console.log(`\n${styleText(["bold", "cyan"], `${++this.#step}. ${text}`)}`);
	}

	say(text: string): void {
		console.log(this.#shorten(text));
	}

	good(text: string): void {
		console.log(styleText("green", this.#shorten(text)));
	}

	command(line: string): void {
		console.log(styleText("bold", `$ ${this.#shorten(line)}`));
	}

	output(text: string): void {
		if (text.trim() !== "") console.log(this.#shorten(text.trimEnd()).replaceAll(/^(?=.)/gm, "  "));
	}

	#shorten(text: string): string {
		return this.#short.reduce((shortened, [path, name]) => shortened.replaceAll(path, name), text);
	}
}
