import { inspect } from "node:util";

/** A value that must not be seen. Only `reveal()` gives it out, so a search for that word finds every place that does. */
export class Secret {
	readonly #value: string;
	/** Where it came from, such as `minio-secret/minio-access-key`: safe to show. */
	readonly label: string;

	constructor(value: string, label: string) {
		this.#value = value;
		this.label = label;
	}

	reveal(): string {
		return this.#value;
	}

	toString(): string {
		return `secret ${this.label}`;
	}

	toJSON(): string {
		return this.toString();
	}

	[inspect.custom](): string {
		return this.toString();
	}
}
