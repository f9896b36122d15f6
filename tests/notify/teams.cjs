// What Microsoft's own library for adaptive cards finds wrong with a message for Teams, which stands on stdin: a line each on
// stdout. Nothing is shown: the library is only asked whether it understands every element and every key.
const library = process.argv[2];
// It is made for browsers.
globalThis.self = globalThis;
globalThis.window = globalThis;
const { AdaptiveCard, SerializationContext, Version } = require(`${library}/dist/adaptivecards.js`);

const message = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const wrong = [];

// https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
const wanted = { type: 'message' };
for (const key of Object.keys(message).filter((key) => !['type', 'attachments'].includes(key))) {
  wrong.push(`a message has no ${key}`);
}
if (message.type !== wanted.type || message.attachments.length !== 1) {
  wrong.push('this is not a message with one card');
}
const [{ contentType, contentUrl, content, ...rest }] = message.attachments;
if (contentType !== 'application/vnd.microsoft.card.adaptive' || contentUrl !== null || Object.keys(rest).length) {
  wrong.push('this is not the attachment of an adaptive card');
}
// Teams' own, which the schema does not have.
const { msteams, ...card } = content;
if (msteams && JSON.stringify(msteams) !== '{"width":"Full"}') {
  wrong.push('msteams says more than a width');
}

const context = new SerializationContext(Version.parse(card.version, new SerializationContext()));
const read = new AdaptiveCard();
read.parse(card, context);
for (let at = 0; at < context.eventCount; at++) {
  wrong.push(context.getEventAt(at).message);
}
for (const { validationEvents } of [read.validateProperties()]) {
  wrong.push(...validationEvents.map((event) => event.message));
}

// A key that it does not know is not written again.
function lost(given, written, where) {
  if (given === null || typeof given !== 'object') {
    if (given !== written) wrong.push(`${where} is read as ${JSON.stringify(written)}`);
    return;
  }
  for (const key of Object.keys(given)) {
    if (written === null || typeof written !== 'object' || !(key in written)) wrong.push(`${where} has no ${key}`);
    else lost(given[key], written[key], `${where}.${key}`);
  }
}
lost(card, read.toJSON(context), 'the card');

for (const line of wrong) console.log(line);
process.exit(wrong.length ? 1 : 0);
