import { describe } from "vitest";
import { s3Drivers } from "../support/s3-drivers.ts";
import { testSupervision } from "./supervision.ts";

describe.each(s3Drivers().filter(({ name }) => name === "s3fs"))("$title", (driver) => {
	testSupervision(driver);
});
