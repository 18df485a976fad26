"""Speech emotion recognition with ambiguous labels.

The spine of the package holds what more than one stage needs: the three contracts (`amber.corpus`,
`amber.features`, `amber.predictions`), the configuration, labels and splits, and the command line. The stages
`amber.extract`, `amber.train` and `amber.evaluate` import the spine and never each other.
"""

__version__ = "0.1.0"
