import numpy
import pandas
import scipy.linalg
from sklearn.tree import DecisionTreeClassifier

frame = pandas.DataFrame({"x": [0.0, 1.0, 2.0, 3.0], "y": [0, 0, 1, 1]})
tree = DecisionTreeClassifier(random_state=0).fit(frame[["x"]], frame["y"])
print(*tree.predict(frame[["x"]]), int(scipy.linalg.det(numpy.eye(2))))
