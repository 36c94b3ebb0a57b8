// A Mocha reporter of splitci: what Mocha tells, as the JSON that Jest writes, into the file that the option `output` names.
// Mocha's own reporters leave out which file a test is of, or the file altogether where an option of the project names another reporter.
'use strict';

const fs = require('fs');

module.exports = function SplitciReporter(runner, options) {
  const files = new Map();
  const entry = (file) => {
    const name = file || '';
    if (!files.has(name)) files.set(name, { name, status: 'passed', message: '', assertionResults: [] });
    return files.get(name);
  };
  const told = (test, status, error) => {
    const file = entry(test.file || (test.parent && test.parent.file));
    const failureMessages = error ? [String((error && error.stack) || error)] : [];
    if (status === 'failed') {
      file.status = 'failed';
      console.log(`${test.fullTitle()}: ${failureMessages[0]}`);
    }
    file.assertionResults.push({ fullName: test.fullTitle(), status, duration: test.duration || 0, failureMessages });
  };
  runner.on('pass', (test) => told(test, 'passed'));
  runner.on('pending', (test) => told(test, 'pending'));
  runner.on('fail', (test, error) => told(test, 'failed', error));
  runner.once('end', () => {
    const testResults = [...files.values()];
    const numTotalTests = testResults.reduce((sum, file) => sum + file.assertionResults.length, 0);
    fs.writeFileSync(options.reporterOptions.output, JSON.stringify({ numTotalTests, testResults }));
  });
};
