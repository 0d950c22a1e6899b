"""Everything on one machine: PostgreSQL, Airflow, the sample company; up, down, gone.

environment    the virtual environment, before any of it can be imported
postgres       the embedded server
home           $SLUICE_HOME and its secrets
database       the databases in the server, embedded or external
airflow        Airflow's settings and its four programs
processes      processes that outlive us, and how to know them again
supervisor     keeps programs running
client         Airflow's API
sample         the sample company and its two questions
up             all of these in order
"""
